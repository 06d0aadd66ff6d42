use pb_core::remote_interface;

#[remote_interface]
trait Bank
where
    Self: Clone,
{
    async fn open(&self, owner: String);
}

fn main() {}
