//! The section of a version in the changelog.

/// The state of a version in the changelog.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// The version has no section.
    Missing,
    /// Its section has no date, or not one like `2027-01-31`.
    Undated,
    /// Its section has a date and no entry.
    Empty,
    /// Its section has a date and entries.
    Complete,
}

/// Finds the section of a version: `## [1.2.3] - 2027-01-31`, with or without the brackets.
pub(super) fn section(changelog: &str, version: &str) -> Section {
    let mut lines = changelog.lines().skip_while(|line| heading(line).is_none_or(|(name, _)| name != version));
    let Some((_, date)) = lines.next().and_then(heading) else { return Section::Missing };
    if !date.is_some_and(is_date) {
        return Section::Undated;
    }
    let mut entries = lines.take_while(|line| heading(line).is_none()).filter(|line| line.starts_with("- "));
    if entries.next().is_none() { Section::Empty } else { Section::Complete }
}

/// The version and the date of a heading.
fn heading(line: &str) -> Option<(&str, Option<&str>)> {
    let text = line.strip_prefix("## ")?;
    let (name, date) = text.split_once(" - ").map_or((text, None), |(name, date)| (name, Some(date.trim())));
    Some((name.trim().trim_matches(['[', ']']), date))
}

/// True for a text like `2027-01-31`.
fn is_date(text: &str) -> bool {
    let within = |part: &str, length: usize, most: u32| {
        let is_number = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number && part.parse().is_ok_and(|number| (1..=most).contains(&number))
    };
    let parts: Vec<_> = text.split('-').collect();
    matches!(parts[..], [year, month, day] if within(year, 4, 9999) && within(month, 2, 12) && within(day, 2, 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- b\n\n## [0.2.0] - 2027-01-31\n\n### Added\n\n- a\n\n\
        ## 0.1.1 - 2026-12-01\n\n## [0.1.0]\n\n- first\n";

    #[test]
    fn section_of_a_version_is_judged() {
        for (version, expected) in [
            ("0.2.0", Section::Complete),
            ("0.1.1", Section::Empty),
            ("0.1.0", Section::Undated),
            ("0.3.0", Section::Missing),
            ("Unreleased", Section::Undated),
        ] {
            assert_eq!(section(CHANGELOG, version), expected, "{version}");
        }
    }

    #[test]
    fn date_has_year_month_and_day() {
        assert!(is_date("2027-01-31"));
        for wrong in ["", "soon", "2027-1-31", "2027-13-01", "2027-01-32", "2027-01", "31-01-2027", "2027-01-31-1", "+027-01-31"] {
            assert!(!is_date(wrong), "{wrong}");
        }
    }
}
