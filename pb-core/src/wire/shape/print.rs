//! Fingerprints: what tells whether caller and callee mean the same method. `docs/protocol.md`, 10 and 10.1.

use std::fmt::{self, Display, Formatter, Write};

use super::Shape;

/// A method's name and the shapes of what goes in and comes out. Its text is what is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Prototype<'a> {
    /// `Interface/method`.
    pub name: &'a str,
    /// The arguments that are covered, from the first.
    pub arguments: &'a [Shape],
    /// What a success carries.
    pub ok: &'a Shape,
    /// What the method's own error carries, if it has one.
    pub err: Option<&'a Shape>,
}

impl Display for Prototype<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        f.write_char('(')?;
        for (place, argument) in self.arguments.iter().enumerate() {
            if place > 0 {
                f.write_char(',')?;
            }
            argument.fmt(f)?;
        }
        f.write_str(")->")?;
        self.ok.fmt(f)?;
        match self.err {
            Some(err) => {
                f.write_char('!')?;
                err.fmt(f)
            }
            None => Ok(()),
        }
    }
}

/// The fingerprint of a method whose first arguments are `arguments`: FNV-1a, 64 bits, of the text of its [`Prototype`].
///
/// It tells mistakes apart, not enemies: whoever forges one gets a body that does not decode.
pub fn print(name: &str, arguments: &[Shape], ok: &Shape, err: Option<&Shape>) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    // A hash takes whatever is written to it.
    let _ = write!(hash, "{}", Prototype { name, arguments, ok, err });
    hash.0
}

struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
