//! `docs/guide/versions.md`.

use pb_server::{FailureKind, Ran, Referenceable, Stub, pair};

mod older {
    use pb_server::remote_interface;

    #[remote_interface]
    pub trait Shop {
        async fn order(&self, what: String) -> String;
        async fn price(&self, what: String) -> u32;
        async fn pay(&self) -> Result<(), Refusal>;
    }

    #[derive(serde::Serialize, serde::Deserialize, Debug)]
    pub enum Refusal {
        Short,
    }
}

mod newer {
    use pb_server::remote_interface;

    #[remote_interface]
    pub trait Shop {
        async fn order(&self, what: String, #[remote(default)] count: u32) -> String;
        async fn price(&self, what: String) -> u64;
        async fn close(&self);
        async fn pay(&self) -> Result<(), Refusal>;
    }

    #[derive(serde::Serialize, serde::Deserialize, Debug)]
    pub enum Refusal {
        Short,
        Closed,
    }
}

#[derive(Referenceable)]
struct MyShop;

impl newer::Shop for MyShop {
    async fn order(&self, what: String, count: u32) -> String {
        format!("{} {what}", count.max(1))
    }

    async fn price(&self, _what: String) -> u64 {
        5
    }

    async fn close(&self) {}

    async fn pay(&self) -> Result<(), newer::Refusal> {
        Err(newer::Refusal::Closed)
    }
}

#[derive(Referenceable)]
struct OldShop;

impl older::Shop for OldShop {
    async fn order(&self, what: String) -> String {
        what
    }

    async fn price(&self, _what: String) -> u32 {
        5
    }

    async fn pay(&self) -> Result<(), older::Refusal> {
        Err(older::Refusal::Short)
    }
}

#[tokio::test]
async fn an_older_client_calls_a_newer_server() {
    let (_serving, broker) = pair(newer::ShopRef::new(MyShop)).await;
    let shop: older::ShopRef = broker.root();
    assert_eq!(shop.order("tea".into()).await, Ok("1 tea".into()));
    let failure = shop.price("tea".into()).await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::No));
    assert_eq!(
        failure.to_string(),
        "the two sides know different signatures; the callee's is Shop/price(what: str) -> u64; the caller's signature is Shop/price(what: str) -> u32"
    );
}

#[tokio::test]
async fn an_error_that_has_grown_is_another_error() {
    let (_serving, broker) = pair(newer::ShopRef::new(MyShop)).await;
    let refused = broker.root::<older::ShopRef>().pay().await.unwrap_err();
    assert_eq!(refused.failure().map(|failure| failure.kind), Some(FailureKind::Incompatible));
}

#[tokio::test]
async fn a_newer_client_calls_an_older_server() {
    let (_serving, broker) = pair(older::ShopRef::new(OldShop)).await;
    let shop: newer::ShopRef = broker.root();
    assert_eq!(shop.order("tea".into(), 0).await, Ok("tea".into()));
    let failure = shop.order("tea".into(), 3).await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::No));
    assert_eq!(
        failure.to_string(),
        "the two sides know different signatures; the callee's is Shop/order(what: str) -> str; the caller's signature is Shop/order(what: str, count: u32 = default) -> str"
    );
    let failure = shop.close().await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Unimplemented, Ran::No));
    assert_eq!(failure.to_string(), "the object has no method Shop/close; it offers Shop");
}

#[test]
fn a_signature_is_a_text() {
    let methods = newer::ShopRef::interface().methods();
    assert_eq!(methods[0].signature(), "Shop/order(what: str, count: u32 = default) -> str");
}
