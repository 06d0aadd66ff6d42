use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[cfg(not(any()))]
    async fn open(&self);
    #[cfg(all())]
    #[remote(name = "open")]
    async fn open_again(&self);
}

fn main() {}
