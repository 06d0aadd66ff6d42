use super::*;
use crate::message::Parts;

/// `bytes` of them, each another one than its neighbours.
fn large(bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

fn draft() -> Draft {
    Draft::over(Vec::new())
}

/// What serde makes of the value, byte by byte.
fn plain<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out).expect("it can be encoded");
    out
}

#[test]
fn a_large_buffer_at_the_end_is_not_copied() {
    let own = large(Body::LARGE_BYTES);
    let mut draft = draft();
    draft.write(&7u8).expect("a number");
    draft.write(&own).expect("bytes");
    assert!(draft.take_large().is_none(), "what was appended is not large");
    let body = draft.body();
    let (front, end) = (Parts::parts(&body).0, body.end().expect("in two pieces"));
    assert_eq!(end.as_ptr(), own.as_ptr());
    assert_eq!([front, end].concat(), plain(&(7u8, &own)));
    assert_eq!(draft.len(), plain(&(7u8, &own)).len());
    assert_eq!(draft.to_bytes(), plain(&(7u8, &own)));
}

#[test]
fn whatever_comes_behind_a_large_buffer_stands_behind_it() {
    let own = large(Body::LARGE_BYTES);
    let mut draft = draft();
    draft.write(&own).expect("bytes");
    draft.write(&own).expect("bytes");
    draft.write(&7u8).expect("a number");
    let all = plain(&(&own, &own, 7u8));
    assert!(draft.take_large().is_some_and(|taken| taken == all));
    assert!(draft.is_empty());
}

#[test]
fn bytes_of_every_size_are_encoded_as_serde_does() {
    for bytes in [0, 1, 250, 251, Body::LARGE_BYTES - 1, Body::LARGE_BYTES, 65_535, 65_536, 1 << 20] {
        let own = large(bytes);
        let mut bytes = draft();
        bytes.write(&own).expect("bytes");
        assert!(bytes.to_bytes() == plain(&own));
        let mut list = draft();
        list.write(&own.to_vec()).expect("a list");
        assert!(list.to_bytes() == plain(&own.to_vec()));
    }
}

#[test]
fn large_bytes_are_a_part_of_the_body_and_small_ones_are_not() {
    for (bytes, kept) in
        [(1, false), (Body::LARGE_BYTES, false), (Body::OWN_BUFFER_BYTES, true), (1 << 20, true)]
    {
        let own = large(bytes);
        let body = Bytes::from(plain(&(1u8, &own)));
        let mut received = Received::new(&body);
        assert_eq!(received.read::<u8>().expect("a number"), 1);
        let read: Bytes = received.read().expect("bytes");
        assert!(received.rest().is_empty() && read == own);
        assert_eq!(body.as_ptr_range().contains(&read.as_ptr()), kept, "{bytes} bytes");
    }
}

#[test]
fn who_keeps_a_small_part_of_a_body_does_not_keep_the_body() {
    let (small, most) = (large(Body::OWN_BUFFER_BYTES), large(3 * Body::OWN_BUFFER_BYTES));
    let body = Bytes::from(plain(&(&small, &most)));
    let mut received = Received::new(&body);
    let read: Bytes = received.read().expect("the small ones");
    assert!(read == small && !body.as_ptr_range().contains(&read.as_ptr()));
    let read: Bytes = received.read().expect("most of it");
    assert!(read == most && body.as_ptr_range().contains(&read.as_ptr()));
}

#[test]
fn lists_of_bytes_are_decoded_as_serde_does() {
    for bytes in [0, 1, 250, 251, 70_000] {
        let list = large(bytes).to_vec();
        let body = Bytes::from(plain(&list));
        assert!(Received::new(&body).read::<Vec<u8>>().expect("a list") == list);
    }
}

#[test]
fn a_length_beyond_the_body_is_refused_and_nothing_is_taken() {
    for body in [&[3, 1, 2][..], &[253, 255, 255, 255, 255, 255, 255, 255, 255], &[]] {
        let body = Bytes::copy_from_slice(body);
        let mut received = Received::new(&body);
        received.read::<Bytes>().expect_err("there are fewer");
        received.read::<Vec<u8>>().expect_err("there are fewer");
        assert_eq!(received.rest(), &body[..]);
    }
}
