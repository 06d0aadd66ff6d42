use pb_core::remote_interface;

#[derive(serde::Serialize, serde::Deserialize)]
struct Bound(std::marker::PhantomData<*const u8>);

#[remote_interface]
trait Bank {
    async fn open(&self, owner: String) -> Bound;
}

fn main() {}
