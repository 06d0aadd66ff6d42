//! Filters, sorting and paging, on the server's side.

use std::cmp::Ordering;

use super::api::{InspectError, Query};
use super::types::{has_in_type, is_type, order};

/// What a row says under a key.
pub(super) enum Cell<'a> {
    Text(&'a str),
    /// A Rust type, which is known by its whole name and by what is shown of it.
    Type(&'a str),
    Texts(&'a [String]),
    Number(u64),
    /// Nothing stands there.
    None,
}

/// Something that is listed.
pub(super) trait Row {
    /// What it can be filtered and sorted by.
    const KEYS: &'static [&'static str];
    /// What it is sorted by where nobody says.
    const SORT: &'static str;
    fn cell(&self, key: &str) -> Cell<'_>;
    /// What tells it apart from all others: the order among equals, which is the same for each page.
    fn tie(&self) -> (u64, u64, &str);
}

enum Test {
    Is(String),
    IsNot(String),
    Has(String),
    More(u64),
    Less(u64),
}

struct Condition {
    key: &'static str,
    test: Test,
}

/// A query that holds together.
pub(super) struct Plan {
    conditions: Vec<Condition>,
    key: &'static str,
    descending: bool,
    offset: usize,
    limit: usize,
}

impl Plan {
    /// # Errors
    /// A condition or a key that is none.
    pub(super) fn of<R: Row>(query: &Query) -> Result<Plan, InspectError> {
        let conditions = query.filter.iter().map(|text| condition::<R>(text)).collect::<Result<_, _>>()?;
        let sort = query.sort.as_deref().unwrap_or(R::SORT);
        let (key, descending) = sort.strip_prefix('-').map_or((sort, false), |key| (key, true));
        let known = R::KEYS.iter().find(|known| **known == key);
        let key =
            known.ok_or_else(|| InspectError::Sort { key: key.to_owned(), keys: R::KEYS.join(", ") })?;
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let limit = (query.limit as usize).clamp(1, MOST_ROWS);
        Ok(Plan { conditions, key, descending, offset, limit })
    }

    /// Whether `key` is asked for.
    pub(super) fn names(&self, key: &str) -> bool {
        self.key == key || self.conditions.iter().any(|condition| condition.key == key)
    }

    pub(super) fn meets<R: Row>(&self, row: &R) -> bool {
        self.conditions.iter().all(|condition| condition.meets(&row.cell(condition.key)))
    }

    /// The page of those rows that were found, all of which meet the conditions.
    pub(super) fn page<R: Row>(&self, mut rows: Vec<R>) -> (Vec<R>, u64, Option<u64>) {
        let total = rows.len();
        let end = self.offset.saturating_add(self.limit);
        let order = |one: &R, other: &R| {
            let order = compare(&one.cell(self.key), &other.cell(self.key));
            let order = if self.descending { order.reverse() } else { order };
            order.then_with(|| one.tie().cmp(&other.tie()))
        };
        if end < total {
            rows.select_nth_unstable_by(end, order);
            rows.truncate(end);
        }
        rows.sort_unstable_by(order);
        let rows = rows.into_iter().skip(self.offset).collect();
        (rows, total as u64, (end < total).then_some(end as u64))
    }

    /// Cuts a page at the bytes that it may take; `bytes` says what a row takes. Gives the offset of the next page.
    pub(super) fn cut<T>(
        &self,
        rows: &mut Vec<T>,
        next: Option<u64>,
        bytes: impl Fn(&T) -> usize,
    ) -> Option<u64> {
        let mut left = MOST_BYTES;
        let fitting = rows.iter().take_while(|row| {
            let fits = left > 0;
            left = left.saturating_sub(bytes(row));
            fits
        });
        let fitting = fitting.count();
        if fitting == rows.len() {
            return next;
        }
        rows.truncate(fitting);
        Some((self.offset + fitting) as u64)
    }
}

fn condition<R: Row>(text: &str) -> Result<Condition, InspectError> {
    let wrong = || InspectError::Filter { text: text.to_owned(), keys: R::KEYS.join(", ") };
    let at = text.find(['=', '!', '~', '>', '<']).ok_or_else(wrong)?;
    let (key, rest) = text.split_at(at);
    let key = R::KEYS.iter().find(|known| **known == key.trim()).ok_or_else(wrong)?;
    let number = |text: &str| text.trim().trim_start_matches('@').parse().map_err(|_| wrong());
    let test = match rest.split_at(1) {
        ("=", value) => Test::Is(value.trim().trim_start_matches('@').to_owned()),
        ("!", value) => Test::IsNot(value.strip_prefix('=').ok_or_else(wrong)?.trim().to_owned()),
        ("~", value) => Test::Has(value.trim().to_owned()),
        (">", value) => Test::More(number(value)?),
        _ => Test::Less(number(&rest[1..])?),
    };
    Ok(Condition { key, test })
}

impl Condition {
    fn meets(&self, cell: &Cell<'_>) -> bool {
        match &self.test {
            Test::Is(wanted) => is(cell, wanted),
            Test::IsNot(other) => !is(cell, other),
            Test::Has(part) => match cell {
                Cell::Text(text) => text.contains(part.as_str()),
                Cell::Type(name) => has_in_type(name, part),
                Cell::Texts(texts) => texts.iter().any(|text| text.contains(part.as_str())),
                Cell::Number(number) => number.to_string().contains(part.as_str()),
                Cell::None => false,
            },
            Test::More(bound) => matches!(cell, Cell::Number(number) if number > bound),
            Test::Less(bound) => matches!(cell, Cell::Number(number) if number < bound),
        }
    }
}

fn is(cell: &Cell<'_>, wanted: &str) -> bool {
    match cell {
        Cell::Text(text) => *text == wanted,
        Cell::Type(name) => is_type(name, wanted),
        Cell::Texts(texts) => texts.iter().any(|text| text == wanted),
        Cell::Number(number) => wanted.parse() == Ok(*number),
        Cell::None => wanted.is_empty(),
    }
}

/// What is not there is less than anything.
fn compare(one: &Cell<'_>, other: &Cell<'_>) -> Ordering {
    match (one, other) {
        (Cell::Number(one), Cell::Number(other)) => one.cmp(other),
        (Cell::Text(one), Cell::Text(other)) => one.cmp(other),
        (Cell::Type(one), Cell::Type(other)) => order(one, other),
        (Cell::Texts(one), Cell::Texts(other)) => one.cmp(other),
        (Cell::None, Cell::None) => Ordering::Equal,
        (Cell::None, _) => Ordering::Less,
        (_, Cell::None) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}

/// Yes and no, as they are written in conditions.
pub(super) fn flag(yes: bool) -> Cell<'static> {
    Cell::Text(if yes { "true" } else { "false" })
}

/// Rows of an answer.
const MOST_ROWS: usize = 1000;
/// Their bytes, but for the last one's.
const MOST_BYTES: usize = 768 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Clone)]
    struct Thing(&'static str, u64);

    impl Row for Thing {
        const KEYS: &'static [&'static str] = &["name", "size"];
        const SORT: &'static str = "-size";

        fn cell(&self, key: &str) -> Cell<'_> {
            match key {
                "name" => Cell::Text(self.0),
                "size" => Cell::Number(self.1),
                _ => Cell::None,
            }
        }

        fn tie(&self) -> (u64, u64, &str) {
            (0, 0, self.0)
        }
    }

    fn listed(
        filter: &[&str],
        sort: Option<&str>,
        offset: u64,
        limit: u32,
    ) -> (Vec<&'static str>, u64, Option<u64>) {
        let filter = filter.iter().map(|text| (*text).to_owned()).collect();
        let query = Query { filter, sort: sort.map(str::to_owned), offset, limit, own: false };
        let plan = Plan::of::<Thing>(&query).expect("it is sound");
        let things = [Thing("ada", 3), Thing("bob", 1), Thing("cleo", 9), Thing("dan", 4)];
        let (rows, total, next) = plan.page(things.into_iter().filter(|thing| plan.meets(thing)).collect());
        (rows.into_iter().map(|thing| thing.0).collect(), total, next)
    }

    #[test]
    fn rows_are_filtered_sorted_and_cut_into_pages() {
        assert_eq!(listed(&[], None, 0, 10), (vec!["cleo", "dan", "ada", "bob"], 4, None));
        assert_eq!(listed(&[], Some("name"), 0, 2), (vec!["ada", "bob"], 4, Some(2)));
        assert_eq!(listed(&[], Some("name"), 2, 2), (vec!["cleo", "dan"], 4, None));
        assert_eq!(listed(&["size>1", "size < 9"], Some("size"), 0, 9), (vec!["ada", "dan"], 2, None));
        assert_eq!(listed(&["name~a"], Some("name"), 0, 9), (vec!["ada", "dan"], 2, None));
        assert_eq!(listed(&["name!=ada", "size=4"], None, 0, 9), (vec!["dan"], 1, None));
        assert_eq!(listed(&[], None, 9, 9), (vec![], 4, None));
    }

    #[test]
    fn what_is_no_condition_is_told_with_the_keys() {
        for text in ["", "size", "weight=1", "size>much", "size!3", "=", "size>"] {
            let query = Query { filter: vec![text.to_owned()], ..Query::default() };
            let error = Plan::of::<Thing>(&query).err().expect("it is none").to_string();
            assert!(error.contains("keys are name, size"), "{error}");
        }
        let query = Query { sort: Some("-weight".into()), ..Query::default() };
        let error = Plan::of::<Thing>(&query).err().expect("it is none").to_string();
        assert_eq!(error, "there is no key \"weight\" to sort by; keys are name, size");
    }

    #[test]
    fn a_page_ends_where_its_bytes_do() {
        let plan =
            Plan::of::<Thing>(&Query { offset: 5, limit: 100, ..Query::default() }).expect("it is sound");
        let mut rows = vec![300 << 10; 10];
        assert_eq!(plan.cut(&mut rows, None, |bytes| *bytes), Some(8));
        assert_eq!(rows.len(), 3);
        let mut few = vec![1, 2];
        assert_eq!(plan.cut(&mut few, Some(7), |bytes| *bytes), Some(7));
    }
}
