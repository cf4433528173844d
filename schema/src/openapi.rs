//! How values with rules of their own appear in the `OpenAPI` document.

/// Describes a type that travels as a string of a given shape.
macro_rules! string {
    ($name:ident, $chars_min:expr, $chars_max:expr, $pattern:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .min_length(Some($chars_min))
                    .max_length(Some($chars_max))
                    .pattern(Some($pattern))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use string;
