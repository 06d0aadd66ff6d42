//! Who else may answer on a port, told by its first bytes (`docs/protocol.md`, section 1).

/// What the first bytes of a stream seem to be, if not this protocol's.
pub(super) fn guess(first: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 10] =
        [b"GET ", b"POST", b"PUT ", b"HEAD", b"HTTP", b"PRI ", b"OPTI", b"DELE", b"CONN", b"PATC"];
    match first {
        // A client's hello, or the alert of a server that could not read ours.
        [0x15 | 0x16, 3, ..] => "TLS",
        [b'S', b'S', b'H', b'-', ..] => "SSH",
        // A list of one or two: the dialects that a banana server offers, or a message.
        [1..=0x7f, 0x80, ..] => "Twisted's Perspective Broker",
        // A string of two letters: the dialect that a banana client chose.
        [2, 0x82, b'p', b'b', ..] => "Twisted's Perspective Broker",
        [0, 0, _, 4, ..] => "HTTP/2",
        text if METHODS.iter().any(|method| text.starts_with(method)) => "HTTP",
        [0x89, b'P', b'B', ..] => "another version of this protocol",
        _ => "none that is known here",
    }
}

#[cfg(test)]
mod tests {
    use super::guess;

    #[test]
    fn strangers_are_told_by_their_first_bytes() {
        for (first, name) in [
            (&b"GET / HTTP/1.1"[..], "HTTP"),
            (b"HTTP/1.1 400 Bad Request", "HTTP"),
            (b"CONNECT example.org:443 HTTP/1.1", "HTTP"),
            (b"PRI * HTTP/2.0", "HTTP"),
            (&[0, 0, 18, 4, 0, 0, 0, 0, 0], "HTTP/2"),
            (&[0x16, 3, 1, 2], "TLS"),
            (&[0x15, 3, 1, 0, 2, 2, 70], "TLS"),
            (b"SSH-2.0-x", "SSH"),
            (
                &[2, 0x80, 2, 0x82, b'p', b'b', 4, 0x82, b'n', b'o', b'n', b'e'],
                "Twisted's Perspective Broker",
            ),
            (&[2, 0x82, b'p', b'b'], "Twisted's Perspective Broker"),
            (&[2, 0x80, 7, 0x82], "Twisted's Perspective Broker"),
            (&[0x89, b'P', b'B', b'\r'], "another version of this protocol"),
            (&[0x89, b'P', b'N', b'G'], "none that is known here"),
            (&[0, 0, 0, 0], "none that is known here"),
            (b"G", "none that is known here"),
            (b"", "none that is known here"),
        ] {
            assert_eq!(guess(first), name, "{first:?}");
        }
    }
}
