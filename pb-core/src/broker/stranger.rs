//! Who else may answer on a port, told by its first bytes (`docs/protocol.md`, section 1).

/// What the first bytes of a stream seem to speak, if not this protocol.
pub(super) fn guess(first: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 8] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"HTTP", b"PRI ", b"OPTI", b"DELE"];
    match first {
        [0x16, 3, ..] => "TLS",
        [b'S', b'S', b'H', b'-', ..] => "SSH",
        [1 | 2, 0x80, ..] => "Twisted's Perspective Broker",
        text if METHODS.iter().any(|method| text.starts_with(method)) => "HTTP",
        _ => "something unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::guess;

    #[test]
    fn strangers_are_told_by_their_first_bytes() {
        assert_eq!(guess(b"GET / HTTP/1.1"), "HTTP");
        assert_eq!(guess(b"HTTP/1.1 400 Bad Request"), "HTTP");
        assert_eq!(guess(&[0x16, 3, 1, 2]), "TLS");
        assert_eq!(guess(b"SSH-2.0-x"), "SSH");
        assert_eq!(guess(&[2, 0x80, 2, 0x82]), "Twisted's Perspective Broker");
        assert_eq!(guess(b"\0\0\0\0"), "something unknown");
    }
}
