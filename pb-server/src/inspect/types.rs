//! Rust types as they are shown: without their modules.

use std::cmp::Ordering;

/// A Rust type without its modules, as `pb` shows it: `Served<Vec<u8>>` of `files::Served<alloc::vec::Vec<u8>>`. Conditions on `type_name` take it as well as the whole name.
pub fn short_type(type_name: &str) -> String {
    pieces(type_name).collect()
}

/// Whether `type_name` is `wanted`, shortened or not.
pub(super) fn is_type(type_name: &str, wanted: &str) -> bool {
    // Piece by piece: of a million objects none is worth an allocation.
    let left = pieces(type_name).try_fold(wanted, |left, piece| left.strip_prefix(piece));
    type_name == wanted || left == Some("")
}

/// Which of two types comes first: as they are shown, and where that is the same by their whole names.
pub(super) fn order(one: &str, other: &str) -> Ordering {
    let shown = |name| pieces(name).flat_map(str::bytes);
    shown(one).cmp(shown(other)).then_with(|| one.cmp(other))
}

/// Whether `part` stands in `type_name`, shortened or not.
pub(super) fn has_in_type(type_name: &str, part: &str) -> bool {
    // A part of one word that stands in the short name stands in the whole one.
    let several = part.contains(|char| !is_of_word(char));
    type_name.contains(part) || several && short_type(type_name).contains(part)
}

/// The words that stay, each with what ends it.
fn pieces(type_name: &str) -> impl Iterator<Item = &str> {
    let mut left = type_name;
    std::iter::from_fn(move || {
        loop {
            let word = left.find(|char| !is_of_word(char)).unwrap_or(left.len());
            if let Some(inside) = left[word..].strip_prefix("::") {
                left = inside;
                continue;
            }
            let end = word + left[word..].chars().next().map_or(0, char::len_utf8);
            let (piece, behind) = left.split_at(end);
            left = behind;
            return (!piece.is_empty()).then_some(piece);
        }
    })
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "files::served::Served<alloc::vec::Vec<u8>, (a::B, c)>";
    const SHORT: &str = "Served<Vec<u8>, (B, c)>";

    #[test]
    fn types_are_sorted_as_they_are_shown() {
        let mut names = ["z::Account", "a::Served<z::Bank>", "b::Bank", "a::Bank"];
        names.sort_by(|one, other| order(one, other));
        assert_eq!(names, ["z::Account", "a::Bank", "b::Bank", "a::Served<z::Bank>"]);
    }

    #[test]
    fn a_type_is_shortened_by_the_modules_of_all_its_parts() {
        assert_eq!(short_type(WHOLE), SHORT);
        assert_eq!(short_type("<a::B as c::D>::Out"), "<B as D>Out");
        assert_eq!(["", "u8", "a::", "größe::Maß"].map(short_type), ["", "u8", "", "Maß"]);
    }

    #[test]
    fn a_type_is_known_by_its_whole_name_and_by_its_short_one_and_by_nothing_between() {
        assert!(is_type(WHOLE, WHOLE) && is_type(WHOLE, SHORT) && is_type("", ""));
        for other in ["", "Served", "served::Served<Vec<u8>, (B, c)>", "Served<Vec<u8>, (B, c)>>"] {
            assert!(!is_type(WHOLE, other), "{other:?}");
        }
        assert!(!is_type("files::OneFile", "File") && !is_type("", "File"));
    }

    #[test]
    fn a_part_of_what_is_shown_is_found_and_so_is_a_part_of_the_whole_name() {
        for part in ["Served<Vec<", "served::Served", "vec::Vec", "(B, c)", "erve", ""] {
            assert!(has_in_type(WHOLE, part), "{part:?}");
        }
        assert!(!has_in_type(WHOLE, "Served<u8") && !has_in_type(WHOLE, "Box"));
    }
}
