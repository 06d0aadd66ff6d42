use pb_core::remote_interface;

#[remote_interface]
trait Plane {
    async fn draw(&self, (x, y): (i32, i32));
}

fn main() {}
