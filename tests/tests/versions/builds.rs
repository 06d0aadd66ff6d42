//! One trait as three builds have it, oldest first.

use pb_server::{Referenceable, remote_interface};
use serde::{Deserialize, Serialize};

/// What goes wrong; all builds have the same.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub struct Trouble;

pub mod old {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    #[remote_interface]
    pub trait Shop {
        async fn order(&self, what: String) -> Result<String, Trouble>;
        async fn orders(&self) -> u64;
        async fn price(&self, what: String) -> u64;
        async fn watch(&self, watcher: WatcherRef) -> String;
        async fn tell(&self);
        async fn stamp(&self);
        #[remote(oneway)]
        async fn note(&self, text: String);
        async fn notes(&self) -> u64;
    }

    #[remote_interface]
    pub trait Watcher {
        async fn changed(&self, what: String) -> String;
    }

    #[derive(Default, Referenceable)]
    pub struct MyShop {
        orders: AtomicU64,
        notes: AtomicU64,
    }

    impl Shop for MyShop {
        async fn order(&self, what: String) -> Result<String, Trouble> {
            self.orders.fetch_add(1, SeqCst);
            Ok(what)
        }
        async fn orders(&self) -> u64 {
            self.orders.load(SeqCst)
        }
        async fn price(&self, _what: String) -> u64 {
            7
        }
        async fn watch(&self, watcher: WatcherRef) -> String {
            watcher.changed("tea".into()).await.unwrap_or_else(|failure| failure.to_string())
        }
        async fn tell(&self) {}
        async fn stamp(&self) {}
        async fn note(&self, _text: String) {
            self.notes.fetch_add(1, SeqCst);
        }
        async fn notes(&self) -> u64 {
            self.notes.load(SeqCst)
        }
    }

    #[derive(Referenceable)]
    pub struct MyWatcher;

    impl Watcher for MyWatcher {
        async fn changed(&self, what: String) -> String {
            format!("saw {what}")
        }
    }
}

pub mod middle {
    use super::*;

    #[remote_interface]
    pub trait Shop {
        async fn order(&self, what: String, #[remote(default)] count: u32) -> Result<String, Trouble>;
    }

    #[derive(Referenceable)]
    pub struct MyShop;

    impl Shop for MyShop {
        async fn order(&self, what: String, count: u32) -> Result<String, Trouble> {
            Ok(format!("{count} {what}"))
        }
    }
}

pub mod new {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    #[remote_interface]
    pub trait Shop {
        async fn take_back(&self, what: String) -> bool;
        async fn order(
            &self,
            what: String,
            #[remote(default)] count: u32,
            #[remote(default)] gift: Option<String>,
        ) -> Result<String, Trouble>;
        #[remote(idempotent)]
        async fn orders(&self) -> u64;
        async fn price(&self, what: String) -> i64;
        async fn watch(&self, watcher: WatcherRef) -> String;
        async fn tell(&self, #[remote(default)] watchers: Vec<WatcherRef>);
        async fn stamp(&self, #[remote(default)] number: Counted);
        #[remote(oneway)]
        async fn note(&self, text: String, #[remote(default)] urgency: u8);
        async fn notes(&self) -> u64;
    }

    #[remote_interface]
    pub trait Watcher {
        async fn changed(&self, what: String, #[remote(default)] count: u32) -> String;
    }

    #[remote_interface]
    pub trait Audited {
        async fn audit(&self) -> u64;
    }

    /// Its default is another each time.
    #[derive(Serialize, Deserialize)]
    pub struct Counted(u64);

    impl Default for Counted {
        fn default() -> Self {
            Counted(crate::next_default())
        }
    }

    #[derive(Default, Referenceable)]
    #[referenceable(Audited)]
    pub struct MyShop {
        orders: AtomicU64,
    }

    impl Shop for MyShop {
        async fn take_back(&self, _what: String) -> bool {
            true
        }
        async fn order(&self, what: String, count: u32, gift: Option<String>) -> Result<String, Trouble> {
            self.orders.fetch_add(1, SeqCst);
            Ok(format!("{count} {what}, gift {gift:?}"))
        }
        async fn orders(&self) -> u64 {
            self.orders.load(SeqCst)
        }
        async fn price(&self, _what: String) -> i64 {
            -7
        }
        async fn watch(&self, watcher: WatcherRef) -> String {
            watcher.changed("tea".into(), 0).await.unwrap_or_else(|failure| failure.to_string())
        }
        async fn tell(&self, _watchers: Vec<WatcherRef>) {}
        async fn stamp(&self, _number: Counted) {}
        async fn note(&self, _text: String, _urgency: u8) {}
        async fn notes(&self) -> u64 {
            0
        }
    }

    impl Audited for MyShop {
        async fn audit(&self) -> u64 {
            self.orders.load(SeqCst)
        }
    }

    #[derive(Referenceable)]
    pub struct MyWatcher;

    impl Watcher for MyWatcher {
        async fn changed(&self, what: String, count: u32) -> String {
            format!("saw {count} {what}")
        }
    }
}
