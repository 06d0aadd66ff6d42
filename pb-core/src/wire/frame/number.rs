//! Numbers with exactly one encoding. Wire: `docs/protocol.md`, "Numbers and texts".

/// Ids lie within plus and minus this, so that one and its capability kind fit a `uint`.
pub(super) const MAX_ID: i64 = 1 << 60;

/// What stands at the front of some bytes.
pub(super) enum Uint {
    /// A number, and how many bytes it took.
    Whole { value: u64, len: usize },
    /// The bytes end inside a number that will be no smaller than `least`.
    Partial { least: u64 },
    /// No number below 2^64 is encoded like this.
    Wrong,
}

/// Reads the `uint` at the front of `bytes`.
#[inline]
pub(super) fn read_uint(bytes: &[u8]) -> Uint {
    match *bytes {
        [byte, ..] if byte < 0x80 => Uint::Whole { value: u64::from(byte), len: 1 },
        // A last byte 0 has a shorter encoding.
        [low, high, ..] if high != 0 && high < 0x80 => {
            Uint::Whole { value: u64::from(low & 0x7f) | u64::from(high) << 7, len: 2 }
        }
        [_, ..] => read_long_uint(bytes),
        [] => Uint::Partial { least: 0 },
    }
}

fn read_long_uint(bytes: &[u8]) -> Uint {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(MAX_LEN).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            // A last byte 0 has a shorter encoding; the tenth byte holds the 64th bit and nothing else.
            let wrong = byte == 0 || (index == MAX_LEN - 1 && byte != 1);
            return if wrong { Uint::Wrong } else { Uint::Whole { value, len: index + 1 } };
        }
    }
    if bytes.len() < MAX_LEN { Uint::Partial { least: 1 << (7 * bytes.len()) } } else { Uint::Wrong }
}

/// Bytes that `value` takes as a `uint`: 1 to 10.
pub(super) const fn uint_len(value: u64) -> usize {
    ((70 - (value | 1).leading_zeros()) / 7) as usize
}

/// The unsigned number that stands for a signed one: 0, −1, 1, −2 become 0, 1, 2, 3.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Turns [`zigzag`] around.
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

const MAX_LEN: usize = 10;

#[cfg(test)]
mod tests {
    use super::super::sink::Sink;
    use super::*;

    fn edges() -> Vec<u64> {
        let powers = (0..64).map(|bit| 1u64 << bit);
        powers.flat_map(|power| [power - 1, power, power + 1]).chain([u64::MAX - 1, u64::MAX]).collect()
    }

    #[test]
    fn every_power_of_two_and_its_neighbours_come_back() {
        for value in edges() {
            let mut bytes = Vec::new();
            bytes.uint(value);
            assert_eq!(bytes.len(), uint_len(value), "{value}");
            match read_uint(&bytes) {
                Uint::Whole { value: read, len } => assert_eq!((read, len), (value, bytes.len())),
                Uint::Partial { .. } | Uint::Wrong => panic!("{value} is not read back"),
            }
        }
    }

    #[test]
    fn a_cut_number_is_partial_and_says_how_large_it_gets() {
        for value in edges() {
            let mut bytes = Vec::new();
            bytes.uint(value);
            for cut in 0..bytes.len() {
                let Uint::Partial { least } = read_uint(&bytes[..cut]) else {
                    panic!("{value} cut at {cut}")
                };
                assert!(least <= value);
            }
        }
    }

    #[test]
    fn a_number_has_no_second_encoding() {
        assert!(matches!(read_uint(&[0x80, 0]), Uint::Wrong));
        assert!(matches!(read_uint(&[0xff, 0x80, 0]), Uint::Wrong));
        let mut tenth = [0xff; 10];
        for byte in [0, 2, 0x7f, 0x80, 0x81, 0xff] {
            tenth[9] = byte;
            assert!(matches!(read_uint(&tenth), Uint::Wrong), "tenth byte {byte}");
        }
        tenth[9] = 1;
        assert!(matches!(read_uint(&tenth), Uint::Whole { value: u64::MAX, len: 10 }));
    }

    #[test]
    fn signed_numbers_alternate_around_zero() {
        assert_eq!([0, -1, 1, -2, 2].map(zigzag), [0, 1, 2, 3, 4]);
        assert_eq!([i64::MAX, i64::MIN].map(zigzag), [u64::MAX - 1, u64::MAX]);
        for value in edges() {
            assert_eq!(zigzag(unzigzag(value)), value);
        }
    }
}
