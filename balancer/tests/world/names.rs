//! A name server with configured answers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

type Records = BTreeMap<(String, RecordType), Vec<RData>>;

/// Listens on UDP until the process ends.
pub(crate) struct Nameserver {
    pub(crate) address: SocketAddr,
    says: Arc<Mutex<(Records, ResponseCode)>>,
}

impl Nameserver {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let says = Arc::new(Mutex::new((Records::new(), ResponseCode::NoError)));
        let knows = Arc::clone(&says);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((read, peer)) = socket.recv_from(&mut buffer) {
                let Ok(asked) = Message::from_vec(&buffer[..read]) else { continue };
                let answer = answer(asked, &knows.lock().unwrap());
                let _ = socket.send_to(&answer.to_vec().unwrap(), peer);
            }
        });
        Self { address, says }
    }

    /// The name has these addresses.
    pub(crate) fn addresses(&self, name: &str, ips: &[Ipv4Addr]) {
        let records = ips.iter().map(|ip| RData::A(A(*ip))).collect();
        self.says.lock().unwrap().0.insert((name.into(), RecordType::A), records);
    }

    /// The service is offered there.
    pub(crate) fn services(&self, name: &str, hosts: &[(&str, u16)]) {
        let records = hosts.iter().map(|(host, port)| RData::SRV(SRV::new(0, 0, *port, Name::from_ascii(host).unwrap()))).collect();
        self.says.lock().unwrap().0.insert((name.into(), RecordType::SRV), records);
    }

    /// Answers every question with this code. `NoError` restores the answers.
    pub(crate) fn only_says(&self, code: ResponseCode) {
        self.says.lock().unwrap().1 = code;
    }
}

fn answer(asked: Message, (records, code): &(Records, ResponseCode)) -> Message {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = *code;
    for query in &asked.queries {
        answer.add_query(query.clone());
        if *code == ResponseCode::NoError {
            let name = query.name().to_string().to_lowercase();
            let known = records.get(&(name, query.query_type())).into_iter().flatten();
            known.for_each(|data| {
                answer.add_answer(Record::from_rdata(query.name().clone(), 3600, data.clone()));
            });
        }
    }
    answer
}
