//! Deterministic damage: what a hostile or broken peer may make of a frame.

/// Xorshift: enough for choosing where to hit, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same `seed`.
    pub fn new(seed: u64) -> Self {
        Dice(seed | 1)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }
}

/// `count` damaged forms of `content`, a frame without its length: cut, with bits flipped, with a number made huge,
/// with bytes put in, with bytes behind. Each comes back as a whole frame with a true length.
pub fn damaged(content: &[u8], count: usize, dice: &mut Dice) -> Vec<Vec<u8>> {
    (0..count).map(|round| framed(&damage(content, round, dice))).collect()
}

/// `content` with its length in front.
pub fn framed(content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut length = content.len();
    while length >= 0x80 {
        frame.push(length as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend_from_slice(content);
    frame
}

fn damage(content: &[u8], round: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = content.to_vec();
    let at = dice.below(bytes.len());
    match round % 6 {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << dice.below(8),
        2 => {
            for _ in 0..=dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] = dice.roll() as u8;
            }
        }
        3 => {
            let huge = HUGE[dice.below(HUGE.len())];
            bytes.splice(at..=at, huge.iter().copied());
        }
        4 => {
            let more: Vec<u8> = (0..=dice.below(40)).map(|_| dice.roll() as u8).collect();
            bytes.splice(at..at, more);
        }
        _ => bytes.extend((0..=dice.below(200)).map(|_| dice.roll() as u8)),
    }
    bytes
}

/// Numbers that tempt to allocate or to overflow: 1,024, 2^20, 2^26, 2^32 − 1, 2^60 + 1, 2^64 − 1, and no number.
const HUGE: [&[u8]; 7] = [
    &[0x80, 0x08],
    &[0x80, 0x80, 0x40],
    &[0x80, 0x80, 0x80, 0x20],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
];
