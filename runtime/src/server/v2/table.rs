//! The routes, one row each: who serves it, and what the OpenAPI document says of it. The router and the document are both made of these
//! rows, so that neither can have what the other has not.

use super::super::AppState;
use axum::{Router, handler::Handler, routing::MethodRouter};
use http::Method;
use utoipa::{
    ToSchema,
    openapi::{
        ContentBuilder, HttpMethod, Object, Ref, RefOr, Required, ResponseBuilder, Schema, Type,
        path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
    },
};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const CSV: &str = "text/csv";

/// A schema under its name.
pub type Named = (String, RefOr<Schema>);

/// One route.
pub struct Row {
    pub method: Method,
    pub path: &'static str,
    serves: MethodRouter<AppState>,
    says: Says,
}

/// The routes of one resource.
pub struct Routes {
    tag: &'static str,
    pub rows: Vec<Row>,
}

/// What the document says of a route.
pub struct Says {
    summary: &'static str,
    query: Vec<Param>,
    body: Option<RequestBody>,
    answers: Vec<(&'static str, ResponseBuilder)>,
    schemas: Vec<Named>,
}

/// A parameter of a query: its name, what it is, and how it looks.
#[derive(Debug, Clone, Copy)]
pub struct Param(pub &'static str, pub &'static str, pub Looks);

#[derive(Debug, Clone, Copy)]
pub enum Looks {
    Text,
    Number,
    Time,
    Yes,
    OneOf(&'static [&'static str]),
}

pub const LIMIT: Param = Param("limit", "how many at most: 20, and never more than 1,000", Looks::Number);
pub const LIMIT_ALL: Param = Param("limit", "how many at most: 1,000 unless said, and never more", Looks::Number);
pub const LIMIT_PERMISSIONS: Param = Param("limit", "how many at most: 10,000 unless said, and never more", Looks::Number);
pub const OFFSET: Param = Param("offset", "how many to pass over", Looks::Number);

impl Routes {
    pub fn of(tag: &'static str) -> Routes {
        Routes { tag, rows: Vec::new() }
    }

    pub fn get<H: Handler<T, AppState>, T: 'static>(self, path: &'static str, handler: H, says: Says) -> Routes {
        self.row(Method::GET, path, axum::routing::get(handler), says)
    }

    pub fn post<H: Handler<T, AppState>, T: 'static>(self, path: &'static str, handler: H, says: Says) -> Routes {
        self.row(Method::POST, path, axum::routing::post(handler), says)
    }

    pub fn put<H: Handler<T, AppState>, T: 'static>(self, path: &'static str, handler: H, says: Says) -> Routes {
        self.row(Method::PUT, path, axum::routing::put(handler), says)
    }

    pub fn patch<H: Handler<T, AppState>, T: 'static>(self, path: &'static str, handler: H, says: Says) -> Routes {
        self.row(Method::PATCH, path, axum::routing::patch(handler), says)
    }

    pub fn delete<H: Handler<T, AppState>, T: 'static>(self, path: &'static str, handler: H, says: Says) -> Routes {
        self.row(Method::DELETE, path, axum::routing::delete(handler), says)
    }

    fn row(mut self, method: Method, path: &'static str, serves: MethodRouter<AppState>, says: Says) -> Routes {
        self.rows.push(Row { method, path, serves, says });
        self
    }

    /// Each path also with a slash at its end, as in the cloud, whose own client library asks for `/users/`.
    pub fn add_to(self, router: Router<AppState>) -> Router<AppState> {
        let add =
            |router: Router<AppState>, row: Row| router.route(&format!("{}/", row.path), row.serves.clone()).route(row.path, row.serves);
        self.rows.into_iter().fold(router, add)
    }

    pub fn tag(&self) -> &'static str {
        self.tag
    }
}

impl Says {
    pub fn new(summary: &'static str) -> Says {
        Says { summary, query: Vec::new(), body: None, answers: Vec::new(), schemas: Vec::new() }
    }

    pub fn query(mut self, params: &[Param]) -> Says {
        self.query.extend(params);
        self
    }

    /// The body is JSON of this shape.
    pub fn takes<T: ToSchema>(mut self) -> Says {
        let schema = self.named::<T>();
        self.body = Some(body(&[JSON], schema));
        self
    }

    /// The body is a list of these.
    pub fn takes_list<T: ToSchema>(mut self) -> Says {
        let schema = self.named::<T>();
        self.body = Some(body(&[JSON], list(schema)));
        self
    }

    /// The body is one text, number or id: as JSON, or plain.
    pub fn takes_scalar(mut self, looks: Looks) -> Says {
        self.body = Some(body(&[JSON, TEXT], looks.schema()));
        self
    }

    /// The body is any JSON, or a text.
    pub fn takes_value(mut self) -> Says {
        self.body = Some(body(&[JSON, TEXT], any()));
        self
    }

    /// The answer is 200 with one of these.
    pub fn one<T: ToSchema>(mut self) -> Says {
        let schema = self.named::<T>();
        self.answer("200", "it", &[JSON], Some(schema))
    }

    pub fn list<T: ToSchema>(mut self) -> Says {
        let schema = self.named::<T>();
        self.answer("200", "a list", &[JSON], Some(list(schema)))
    }

    /// The same as a table, for who accepts `text/csv`.
    pub fn list_or_csv<T: ToSchema>(mut self) -> Says {
        let schema = self.named::<T>();
        self.answer("200", "a list, or a table with a header", &[JSON, CSV], Some(list(schema)))
    }

    /// The answer is 201 with what was made.
    pub fn makes_one<T: ToSchema>(mut self) -> Says {
        let schema = self.named::<T>();
        self.answer("201", "what was made", &[JSON], Some(schema))
    }

    /// The answer is 200 with a text.
    pub fn text(self, what: &'static str) -> Says {
        self.answer("200", what, &[TEXT], Some(Looks::Text.schema()))
    }

    /// The answer is 204 without a body.
    pub fn done(self) -> Says {
        self.answer("204", "done, and durable", &[], None)
    }

    /// It makes something under an id, which nobody may have yet.
    pub fn makes(self) -> Says {
        self.done().refuses("422", "there is one with this id already")
    }

    pub fn refuses(self, status: &'static str, why: &'static str) -> Says {
        self.answer(status, why, &["application/problem+json"], Some(problem()))
    }

    fn answer(mut self, status: &'static str, what: &str, types: &[&str], schema: Option<RefOr<Schema>>) -> Says {
        let mut response = ResponseBuilder::new().description(what);
        for content_type in types {
            response = response.content(*content_type, ContentBuilder::new().schema(schema.clone()).build());
        }
        self.answers.push((status, response));
        self
    }

    fn named<T: ToSchema>(&mut self) -> RefOr<Schema> {
        T::schemas(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), T::schema()));
        Ref::from_schema_name(T::name()).into()
    }
}

impl Row {
    /// The row as the document has it, and the schemas that it names.
    pub fn described(self, tag: &str) -> (HttpMethod, &'static str, Operation, Vec<Named>) {
        let Says { summary, query, body, answers, schemas } = self.says;
        let mut operation = OperationBuilder::new().tag(tag).summary(Some(summary)).operation_id(Some(name(&self.method, self.path)));
        for part in parts(self.path) {
            let parameter = ParameterBuilder::new().name(part).parameter_in(ParameterIn::Path).required(Required::True);
            operation = operation.parameter(parameter.schema(Some(Looks::Text.schema())));
        }
        for Param(name, what, looks) in query {
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
            operation = operation.parameter(parameter.description(Some(what)).schema(Some(looks.schema())));
        }
        for (status, response) in answers {
            operation = operation.response(status, response.build());
        }
        let other = ResponseBuilder::new().description("anything else is a problem (RFC 9457)");
        let other = other.content("application/problem+json", ContentBuilder::new().schema(Some(problem())).build());
        let operation = operation.response("default", other.build()).request_body(body).build();
        (method(&self.method), self.path, operation, schemas)
    }
}

impl Looks {
    fn schema(self) -> RefOr<Schema> {
        use utoipa::openapi::{KnownFormat, ObjectBuilder, SchemaFormat};
        let object = ObjectBuilder::new();
        let object = match self {
            Looks::Text => object.schema_type(Type::String),
            Looks::Number => object.schema_type(Type::Integer),
            Looks::Time => object.schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))),
            Looks::Yes => object.schema_type(Type::Boolean),
            Looks::OneOf(words) => object.schema_type(Type::String).enum_values(Some(words.iter().copied())),
        };
        RefOr::T(Schema::Object(object.build()))
    }
}

fn body(types: &[&str], schema: RefOr<Schema>) -> RequestBody {
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    let content = |body: RequestBodyBuilder, of: &&str| body.content(*of, ContentBuilder::new().schema(Some(schema.clone())).build());
    types.iter().fold(body, content).build()
}

fn list(of: RefOr<Schema>) -> RefOr<Schema> {
    RefOr::T(Schema::Array(utoipa::openapi::schema::Array::new(of)))
}

fn any() -> RefOr<Schema> {
    RefOr::T(Schema::Object(Object::with_type(utoipa::openapi::schema::SchemaType::AnyValue)))
}

fn problem() -> RefOr<Schema> {
    Ref::from_schema_name("Problem").into()
}

/// `{device}` and the like, in their order.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// `GET /devices/{device}/sensors` is `getDevicesDeviceSensors`: what generated clients call their functions.
fn name(method: &Method, path: &str) -> String {
    let words = path.split(['/', '_', '{', '}']).filter(|word| !word.is_empty());
    let capital =
        |word: &str| word.chars().next().map(|c| c.to_ascii_uppercase()).into_iter().chain(word.chars().skip(1)).collect::<String>();
    words.fold(method.as_str().to_lowercase(), |name, word| name + &capital(word))
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}
