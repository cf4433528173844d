//! Builds the server anew when the page it embeds changes: new files count too.

fn main() {
    println!("cargo:rerun-if-changed=page");
}
