use pb_core::{CallContext, remote_interface};

#[remote_interface]
trait Store {
    async fn put(&self, key: String, cx: &CallContext);
}

fn main() {}
