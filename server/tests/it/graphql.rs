//! GraphQL: its committed schema, its parity with REST, its limits and its refusals.

use roost_server::transport::graphql_sdl;

#[test]
fn the_committed_schema_is_fresh() {
    let committed = include_str!("../../../schema/schema.graphql");
    assert!(
        graphql_sdl() == committed,
        "schema/schema.graphql is stale: run `cargo xtask schema`"
    );
}
