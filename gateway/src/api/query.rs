//! Queries of GET requests.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::model::{Count, Info, Operation, Rooms, Sockets};
use super::problem::{Problem, ProblemKind};
use super::routes::Route;

/// The parameters of a query that were not read yet.
#[derive(Debug)]
struct Query(BTreeMap<String, Vec<String>>);

/// Reads the operation of a GET request.
pub(crate) fn operation(route: Route, query: &str) -> Result<Operation, Problem> {
    let mut query = Query::parse(query);
    let operation = match route {
        Route::Sockets => {
            let default = Sockets::default();
            Operation::Sockets(Sockets {
                namespace: query.one("namespace")?.unwrap_or(default.namespace),
                rooms: query.many("room"),
                except: query.many("except"),
                limit: query.parsed("limit", "a whole number")?,
                auth: query.parsed("auth", "`true` or `false`")?.unwrap_or_default(),
            })
        }
        Route::Rooms => {
            let default = Rooms::default();
            Operation::Rooms(Rooms {
                namespace: query.one("namespace")?.unwrap_or(default.namespace),
                prefix: query.one("prefix")?.unwrap_or(default.prefix),
                limit: query.parsed("limit", "a whole number")?,
            })
        }
        Route::Count => Operation::Count(Count {
            namespace: query.one("namespace")?.unwrap_or(Count::default().namespace),
            rooms: query.many("room"),
            except: query.many("except"),
        }),
        Route::Info => Operation::Info(Info {}),
        _ => return Err(Problem::new(ProblemKind::NotFound, "the operation has a body: send it by POST")),
    };
    query.finish()?;
    Ok(operation)
}

impl Query {
    fn parse(query: &str) -> Self {
        let mut parameters = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            parameters.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Self(parameters)
    }

    fn many(&mut self, name: &str) -> Vec<String> {
        self.0.remove(name).unwrap_or_default()
    }

    fn one(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut values = self.many(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(invalid(name.to_owned(), format!("`{name}` is repeated: send it once"))),
        }
    }

    fn parsed<T: FromStr>(&mut self, name: &'static str, expected: &str) -> Result<Option<T>, Problem> {
        let parse = |text: String| text.parse().map_err(|_| invalid(name.to_owned(), format!("wrong `{name}`: send {expected}")));
        self.one(name)?.map(parse).transpose()
    }

    /// Refuses parameters that nothing has read.
    fn finish(self) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            Some(name) => Err(invalid(name, "the operation has no such parameter: leave it out".into())),
            None => Ok(()),
        }
    }
}

fn invalid(parameter: String, detail: String) -> Problem {
    Problem::new(ProblemKind::Invalid, detail).of_parameter(parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_the_request() {
        let Ok(Operation::Sockets(sockets)) = operation(Route::Sockets, "room=a+b&namespace=%2Fchat&room=c&limit=7&auth=true") else {
            panic!()
        };
        let rooms = vec!["a b".to_owned(), "c".to_owned()];
        assert_eq!(sockets, Sockets { namespace: "/chat".into(), rooms, except: vec![], limit: Some(7), auth: true });
        assert_eq!(operation(Route::Sockets, "").unwrap(), Operation::Sockets(Sockets::default()));
        let rooms = Rooms { prefix: "user:".into(), limit: Some(7), ..Rooms::default() };
        assert_eq!(operation(Route::Rooms, "prefix=user:&limit=7").unwrap(), Operation::Rooms(rooms));
        let count = Count { rooms: vec!["a".into()], except: vec!["b".into()], ..Count::default() };
        assert_eq!(operation(Route::Count, "room=a&except=b").unwrap(), Operation::Count(count));
        assert_eq!(operation(Route::Info, "").unwrap(), Operation::Info(Info {}));
    }

    #[test]
    fn wrong_parameter_is_named() {
        for (query, name) in [("rooms=a", "rooms"), ("limit=-1", "limit"), ("limit=1&limit=2", "limit"), ("auth=yes", "auth"), ("=", "")] {
            let problem = serde_json::to_value(operation(Route::Sockets, query).unwrap_err()).unwrap();
            assert_eq!((&problem["status"], &problem["parameter"]), (&422.into(), &name.into()), "{query}");
        }
    }
}
