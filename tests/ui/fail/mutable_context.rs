use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(&self, cx: &mut pb_core::CallContext, owner: String);
}

fn main() {}
