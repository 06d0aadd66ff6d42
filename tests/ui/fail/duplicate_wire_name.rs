use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(&self);
    #[remote(name = "open")]
    async fn open_again(&self);
}

fn main() {}
