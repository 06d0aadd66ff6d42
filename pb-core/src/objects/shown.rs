use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an object shows of itself to who looks into its process: its fields that are marked `#[inspect]`, as their `Debug` writes them.
///
/// However much that is, a field has at most 1,024 bytes, and all have 16 KiB; what a terminal would obey is escaped.
#[derive(Default)]
pub struct Shown {
    fields: Vec<ShownField>,
    bytes: usize,
}

/// A field of a [`Shown`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ShownField {
    /// Its name; of a tuple struct its place.
    pub name: &'static str,
    /// As it is now.
    pub value: String,
    /// Whether there is more of it.
    pub cut: bool,
}

impl Shown {
    /// Adds a field. Runs its `Debug`, a panic of which is its own affair.
    pub fn field(&mut self, name: &'static str, value: &dyn fmt::Debug) {
        let room = MOST_BYTES.saturating_sub(self.bytes).min(MOST_OF_A_FIELD);
        let mut text = Bounded { text: String::new(), room, cut: false };
        let written = catch_unwind(AssertUnwindSafe(|| write!(text, "{value:?}")));
        if written.is_err() {
            text = Bounded { text: "(its Debug panicked)".to_owned(), room: 0, cut: true };
        }
        self.bytes += text.text.len() + name.len();
        self.fields.push(ShownField { name, value: text.text, cut: text.cut });
    }

    /// All of them, in the order of their declaration.
    pub fn into_fields(self) -> Vec<ShownField> {
        self.fields
    }
}

/// Takes so much, and tells whoever writes more that it is enough.
struct Bounded {
    text: String,
    room: usize,
    cut: bool,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let before = self.text.len();
            match char.is_control() {
                true => self.text.extend(char.escape_default()),
                false => self.text.push(char),
            }
            if self.text.len() > self.room {
                self.text.truncate(before);
                (self.cut, self.room) = (true, 0);
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

const MOST_OF_A_FIELD: usize = 1024;
const MOST_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    struct Endless;

    impl fmt::Debug for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("\u{1b}[2J for ever ")?;
            }
        }
    }

    struct Panics;

    impl fmt::Debug for Panics {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("not today")
        }
    }

    #[test]
    fn what_a_field_says_is_bounded_and_nothing_that_a_terminal_obeys() {
        let mut shown = Shown::default();
        (0..40).for_each(|_| shown.field("endless", &Endless));
        let fields = shown.into_fields();
        assert!(fields.iter().all(|field| field.cut && !field.value.contains(char::is_control)));
        assert!(fields[0].value.starts_with("\\u{1b}[2J for ever "), "{}", fields[0].value);
        let bytes: usize = fields.iter().map(|field| field.value.len()).sum();
        assert!((MOST_BYTES / 2..=MOST_BYTES).contains(&bytes), "{bytes} bytes");
    }

    #[test]
    fn a_field_that_panics_is_told_of_and_the_next_is_shown() {
        let mut shown = Shown::default();
        shown.field("bad", &Panics);
        shown.field("good", &7);
        let fields: Vec<_> = shown.into_fields().into_iter().map(|field| field.value).collect();
        assert_eq!(fields, ["(its Debug panicked)", "7"]);
    }
}
