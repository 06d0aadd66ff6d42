//! Every option of methods and arguments, together, with context, raw names and conditions.
#![deny(warnings, missing_docs)]
//! Documented.

use pb_core::{CallContext, Referenceable, Stub, remote_interface};

/// What is gone.
#[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gone;

/// A shop.
#[remote_interface]
pub trait Shop {
    /// Orders.
    #[remote(idempotent, run_to_end, spawn, answer_bytes = 1_000, name = "order it")]
    async fn order(
        &self,
        cx: &CallContext,
        what: String,
        #[remote(default)] count: u32,
        #[remote(default)]
        #[allow(unused_variables)]
        r#type: Option<ShopRef>,
    ) -> Result<String, Gone>;
    /// Notes.
    #[remote(oneway)]
    #[remote(run_to_end)]
    async fn note(&self, #[remote(default)] text: String);
    /// Counts.
    #[remote(idempotent)]
    #[cfg(not(any()))]
    async fn count(&self, #[remote(default)] from: u64) -> u64 {
        from + 1
    }
    /// Is gone.
    #[deprecated]
    async fn gone(&self, #[remote(default,)] what: Gone) -> Gone {
        what
    }
}

#[derive(Referenceable)]
struct MyShop;

impl Shop for MyShop {
    async fn order(
        &self,
        _cx: &CallContext,
        what: String,
        count: u32,
        r#type: Option<ShopRef>,
    ) -> Result<String, Gone> {
        Ok(format!("{count} {what} {}", r#type.is_some()))
    }
    async fn note(&self, _text: String) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let shop = ShopRef::new(MyShop);
    let ordered = shop.order("tea".to_owned(), 2, Some(shop.clone())).await;
    assert_eq!(ordered.unwrap(), "2 tea true");
    shop.note("text".to_owned());
    assert_eq!(shop.count(1).await.unwrap(), 2);
    let methods = ShopRef::interface().methods();
    let flags = methods[0].flags();
    assert!(flags.idempotent && flags.run_to_end && flags.spawn && !flags.oneway);
    assert_eq!((methods[0].name(), flags.answer_bytes), ("Shop/order it", 1000));
    assert_eq!(methods[0].parameters(), ["what", "count", "type"]);
    let optional: Vec<_> = methods.iter().map(|method| method.shape().optional).collect();
    assert_eq!(optional, [2, 1, 1, 1]);
}
