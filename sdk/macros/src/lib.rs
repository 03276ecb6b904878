//! `#[tawi::event]`, `#[tawi::http]`, `#[tawi::codec]`, and one for each trigger of time. They leave the function as it is and put one macro call beside it, which makes the export.
//! In: a function item. Out: the item and `::tawi::__event!(name)`. Never: a look at types, which the compiler checks better.

use proc_macro::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};

/// Makes a function the handler of this app's events.
///
/// It takes a `tawi::Event` and returns `tawi::Result`, or nothing. An app has one such function; where `tawi.toml` has several
/// `[[on]]` entries with a `subject`, `event.function()` tells which one a delivery is for.
///
/// ```text
/// #[tawi::event]
/// fn alert(event: tawi::Event) -> tawi::Result {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn event(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("event", arguments, item)
}

/// Makes a function the handler of this app's HTTP requests.
///
/// It takes a `tawi::http::Request` and returns a `tawi::http::Response`, or a `Result` of one. An app has one such function; the
/// request's path tells what is asked for.
///
/// ```text
/// #[tawi::http]
/// fn serve(request: tawi::http::Request) -> tawi::http::Response {
///     tawi::http::text(format!("you asked for {}\n", request.uri().path()))
/// }
/// ```
#[proc_macro_attribute]
pub fn http(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("http", arguments, item)
}

/// Makes a function the codec of this app.
///
/// It takes a `tawi::Uplink` and returns what it found in it, as a `Vec` of `tawi::Sample`, or a `Result` of one. `tawi.toml` has a
/// `[codec]`, and a device names the app in its `meta.codec`.
///
/// ```text
/// #[tawi::codec]
/// fn decode(uplink: tawi::Uplink) -> tawi::Result<Vec<tawi::Sample>> {
///     Ok(Vec::new())
/// }
/// ```
#[proc_macro_attribute]
pub fn codec(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("codec", arguments, item)
}

/// Makes a function the handler of this app's moments of a schedule.
///
/// It takes a `tawi::Tick` and returns `tawi::Result`, or nothing. The `[[on]]` entry in `tawi.toml` has `schedule = "0 6 * * *"`. An app has one such
/// function; `tick.delivery.function` tells which entry a call is for.
///
/// ```text
/// #[tawi::schedule]
/// fn report(tick: tawi::Tick) -> tawi::Result {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn schedule(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("schedule", arguments, item)
}

/// Makes a function the handler of this app's batches of readings.
///
/// It takes a `tawi::Batch` and returns `tawi::Result`, or nothing. The `[[on]]` entry in `tawi.toml` has `batch = { max = 100, within = "10s" }`. An app has one such
/// function; `batch.delivery.function` tells which entry a call is for.
///
/// ```text
/// #[tawi::batch]
/// fn forward(batch: tawi::Batch) -> tawi::Result {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn batch(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("batch", arguments, item)
}

/// Makes a function the handler of this app's windows of measured time.
///
/// It takes a `tawi::Window` and returns `tawi::Result`, or nothing. The `[[on]]` entry in `tawi.toml` has `window = { tumbling = "1h" }`. An app has one such
/// function; `window.delivery.function` tells which entry a call is for.
///
/// ```text
/// #[tawi::window]
/// fn hourly(window: tawi::Window) -> tawi::Result {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn window(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("window", arguments, item)
}

/// Makes a function the handler of this app's sensors that fall silent.
///
/// It takes a `tawi::Silence` and returns `tawi::Result`, or nothing. The `[[on]]` entry in `tawi.toml` has `silence = "10m"`. An app has one such
/// function; `silence.delivery.function` tells which entry a call is for.
///
/// ```text
/// #[tawi::silence]
/// fn silent(silence: tawi::Silence) -> tawi::Result {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn silence(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("silence", arguments, item)
}

/// Makes a function the handler of this app's values that change.
///
/// It takes a `tawi::Change` and returns `tawi::Result`, or nothing. The `[[on]]` entry in `tawi.toml` has `change = { by = 0.5 }`. An app has one such
/// function; `change.delivery.function` tells which entry a call is for.
///
/// ```text
/// #[tawi::change]
/// fn moved(change: tawi::Change) -> tawi::Result {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn change(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("change", arguments, item)
}

/// Makes a function the handler of this app's values that go beyond a threshold.
///
/// It takes a `tawi::Crossing` and returns `tawi::Result`, or nothing. The `[[on]]` entry in `tawi.toml` has `threshold = { above = 8.0, hysteresis = 0.5 }`. An app has one such
/// function; `crossing.delivery.function` tells which entry a call is for.
///
/// ```text
/// #[tawi::threshold]
/// fn warm(crossing: tawi::Crossing) -> tawi::Result {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn threshold(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export("threshold", arguments, item)
}

fn export(kind: &str, arguments: TokenStream, item: TokenStream) -> TokenStream {
    if let Some(argument) = arguments.into_iter().next() {
        return error(argument.span(), &format!("`#[tawi::{kind}]` takes no arguments: what it is called for stands in tawi.toml"));
    }
    match function_name(item.clone()) {
        Ok(name) => item.into_iter().chain(call(kind, name)).collect(),
        Err((span, what)) => item.into_iter().chain(error(span, &format!("`#[tawi::{kind}]` goes on {what}"))).collect(),
    }
}

/// The identifier after `fn`, of a function that can be called with one argument and nothing else.
fn function_name(item: TokenStream) -> Result<Ident, (Span, &'static str)> {
    let mut tokens = item.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let TokenTree::Ident(word) = token else { continue };
        match word.to_string().as_str() {
            "async" => return Err((word.span(), "a plain function: every call of the host blocks, and a call has nothing else to do")),
            "struct" | "enum" | "mod" | "impl" | "trait" | "const" | "static" | "use" | "type" => {
                return Err((word.span(), "a function"));
            }
            "fn" => {
                let Some(TokenTree::Ident(name)) = tokens.next() else { break };
                return match tokens.peek() {
                    Some(TokenTree::Punct(mark)) if mark.as_char() == '<' => Err((mark.span(), "a function without generics")),
                    _ => Ok(name),
                };
            }
            _ => {}
        }
    }
    Err((Span::call_site(), "a function"))
}

/// `::tawi::__KIND!(name);`
fn call(kind: &str, name: Ident) -> TokenStream {
    let joint = |c| TokenTree::from(Punct::new(c, Spacing::Joint));
    let alone = |c| TokenTree::from(Punct::new(c, Spacing::Alone));
    let span = Span::call_site();
    let group = Group::new(Delimiter::Parenthesis, TokenTree::from(name).into());
    [
        joint(':'),
        alone(':'),
        Ident::new("tawi", span).into(),
        joint(':'),
        alone(':'),
        Ident::new(&format!("__{kind}"), span).into(),
        alone('!'),
        group.into(),
        alone(';'),
    ]
    .into_iter()
    .collect()
}

/// `::core::compile_error! { "message" }` at `span`.
fn error(span: Span, message: &str) -> TokenStream {
    let text = format!("::core::compile_error! {{ {message:?} }}");
    let tokens: TokenStream = text.parse().unwrap_or_default();
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(span);
            token
        })
        .collect()
}
