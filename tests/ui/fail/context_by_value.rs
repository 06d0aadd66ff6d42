use pb_core::{CallContext, remote_interface};

#[remote_interface]
trait Store {
    async fn put(&self, cx: CallContext, key: String);
}

fn main() {}
