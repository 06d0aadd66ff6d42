use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(name = "$describe")]
    async fn describe(&self) -> String;
}

fn main() {}
