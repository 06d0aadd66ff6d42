use std::borrow::Cow;

use pb_core::remote_interface;

#[remote_interface]
trait Store {
    async fn put(&self, key: Cow<'static, str>, value: Cow<'_, str>) -> u64;
}

fn main() {}
