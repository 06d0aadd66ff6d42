use pb_core::remote_interface;

#[remote_interface]
unsafe trait Bank {
    async fn open(&self, owner: String);
}

fn main() {}
