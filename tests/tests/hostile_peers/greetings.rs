use crate::*;

#[tokio::test]
async fn strangers_are_sent_away_and_hear_nothing_but_our_hello() {
    let attacked = Attacked::start().await;
    let strangers: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /pb HTTP/1.1\r\n\r\n{}",
        &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[2, 0x80, 2, 0x82, b'p', b'b', 4, 0x82, b'n', b'o', b'n', b'e'],
        b"\0\0\0\0",
        &[0x89, b'P', b'N', b'G', 13, 10, 26, 10],
    ];
    let mut hello = Vec::new();
    for (n, stranger) in strangers.iter().enumerate() {
        let mut raw = Raw::connect(&attacked.url).await;
        raw.send(stranger).await;
        let heard = raw.bytes().await;
        if n == 0 {
            hello = heard.clone();
        }
        assert!(heard.starts_with(&MAGIC));
        assert_eq!(heard, hello, "the same for all, and nothing of theirs");
        assert!(heard.len() < 64, "{} bytes", heard.len());
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_stranger_is_known_by_its_first_wrong_byte() {
    let attacked = Attacked::start().await;
    for first in [&b"G"[..], &[0x89, b'Q'], &[0x89, b'P', b'B', b'\r']] {
        let mut raw = Raw::connect(&attacked.url).await;
        raw.send(first).await;
        assert!(raw.bytes().await.starts_with(&MAGIC));
    }
    attacked.serves_on().await;
}

async fn ungreeted(attacked: &Attacked, message: &Message) -> Abort {
    let mut raw = Raw::connect(&attacked.url).await;
    raw.send(&MAGIC).await;
    raw.message(message).await;
    raw.abort().await
}

#[tokio::test]
async fn a_peer_without_a_common_version_is_told_so() {
    let attacked = Attacked::start().await;
    for versions in [(0, 0), (2, 9), (u32::MAX, u32::MAX), (3, 1)] {
        let hello = Hello { versions, features: 0, grants: Grants::MINIMUM };
        let abort = ungreeted(&attacked, &Message::Hello(hello)).await;
        assert_eq!(abort.code, AbortCode::Version);
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_call_before_the_hello_is_refused() {
    let attacked = Attacked::start().await;
    let abort = ungreeted(&attacked, &Message::Call(call(1, "Target/say", &"early"))).await;
    assert_eq!(abort.code, AbortCode::Violation);
    let mut raw = Raw::connect(&attacked.url).await;
    raw.send(&MAGIC).await;
    raw.send(&framed(&[99, 0, 1])).await;
    assert_eq!(raw.abort().await.code, AbortCode::Violation);
    let mut raw = attacked.greeted().await;
    raw.message(&Message::Call(call(1, "Target/calls", &()))).await;
    assert_eq!(outcome(raw.answer().await).as_deref(), Ok(&[0][..]), "no call has run");
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_second_hello_is_refused() {
    let attacked = Attacked::start().await;
    assert_eq!(attacked.abort_for_messages(&[hello()]).await.code, AbortCode::Violation);
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_hello_over_4_kib_is_refused() {
    let attacked = Attacked::start().await;
    let mut raw = Raw::connect(&attacked.url).await;
    raw.send(&MAGIC).await;
    raw.send(&[0x81, 0x20]).await; // 4,097, and nothing behind it.
    let abort = raw.abort().await;
    assert_eq!(abort.code, AbortCode::Malformed);
    assert!(abort.reason.contains("over the limit of 4096"), "{abort:?}");
    attacked.serves_on().await;
}

#[tokio::test]
async fn frames_sent_behind_the_hello_without_waiting_are_served() {
    let attacked = Attacked::start().await;
    let mut session = MAGIC.to_vec();
    for message in [hello(), Message::Call(call(1, "Target/say", &"quick"))] {
        pb_core::wire::frame::encode(&message, &mut session);
    }
    let mut raw = Raw::connect(&attacked.url).await;
    raw.send(&session).await;
    assert_eq!(outcome(raw.answer().await).as_deref(), Ok(&b"\x05quick"[..]));
    attacked.serves_on().await;
}
