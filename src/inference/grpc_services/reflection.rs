//! Server reflection: which services and messages there are, for tools such as `grpcurl`.
//!
//! Versions `v1` and `v1alpha` have the same messages. Absent: extensions, which proto3 has none of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;

/// A `FileDescriptorSet` of everything in `proto/`.
static DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");

/// gRPC's NOT_FOUND.
const NOT_FOUND: i32 = 5;
/// gRPC's INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;

/// `ServerReflectionRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Question {
    /// The host asked for; passed over.
    #[prost(string, tag = "1")]
    pub host: String,
    /// What is asked.
    #[prost(oneof = "Ask", tags = "3, 4, 5, 6, 7")]
    pub ask: Option<Ask>,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Ask {
    /// A file by its name.
    #[prost(string, tag = "3")]
    File(String),
    /// The file that defines a service, method or type.
    #[prost(string, tag = "4")]
    Symbol(String),
    /// The file that defines an extension.
    #[prost(message, tag = "5")]
    Extension(ExtensionAsked),
    /// Numbers of all extensions of a type.
    #[prost(string, tag = "6")]
    Extensions(String),
    /// All services.
    #[prost(string, tag = "7")]
    Services(String),
}

/// `ExtensionRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExtensionAsked {
    /// The type that is extended.
    #[prost(string, tag = "1")]
    pub containing_type: String,
    /// Number of the extension.
    #[prost(int32, tag = "2")]
    pub extension_number: i32,
}

/// `ServerReflectionResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Reply {
    /// The host of the request.
    #[prost(string, tag = "1")]
    pub valid_host: String,
    /// The request.
    #[prost(message, optional, tag = "2")]
    pub original_request: Option<Question>,
    /// The answer to it.
    #[prost(oneof = "Told", tags = "4, 5, 6, 7")]
    pub told: Option<Told>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Told {
    /// The file and everything it imports.
    #[prost(message, tag = "4")]
    Files(Files),
    /// Numbers of extensions.
    #[prost(message, tag = "5")]
    Extensions(Extensions),
    /// All services.
    #[prost(message, tag = "6")]
    Services(Services),
    /// There is no such thing.
    #[prost(message, tag = "7")]
    Error(NotKnown),
}

/// `FileDescriptorResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Files {
    /// `FileDescriptorProto`s.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub files: Vec<Bytes>,
}

/// `ExtensionNumberResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Extensions {
    /// The type.
    #[prost(string, tag = "1")]
    pub base_type_name: String,
    /// Its extensions.
    #[prost(int32, repeated, tag = "2")]
    pub extension_number: Vec<i32>,
}

/// `ListServiceResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Services {
    /// The services.
    #[prost(message, repeated, tag = "1")]
    pub service: Vec<Service>,
}

/// `ServiceResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Service {
    /// Its full name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `ErrorResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NotKnown {
    /// A gRPC status code.
    #[prost(int32, tag = "1")]
    pub error_code: i32,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// The answer to `question`.
pub fn answer(question: Question) -> Reply {
    let book = &*BOOK;
    let told = match &question.ask {
        Some(Ask::File(name)) => book.with_imports(name).map(Told::Files),
        Some(Ask::Symbol(symbol)) => {
            let symbol = symbol.strip_prefix('.').unwrap_or(symbol);
            book.symbols.get(symbol).and_then(|file| book.with_imports(file)).map(Told::Files)
        }
        Some(Ask::Extension(_)) => None,
        Some(Ask::Extensions(name)) => book.symbols.contains_key(name.as_str()).then(|| {
            Told::Extensions(Extensions { base_type_name: name.clone(), extension_number: Vec::new() })
        }),
        Some(Ask::Services(_)) => {
            let service = book.services.iter().map(|name| Service { name: name.clone() }).collect();
            Some(Told::Services(Services { service }))
        }
        None => {
            let error_message = "the request asks for nothing".to_owned();
            Some(Told::Error(NotKnown { error_code: INVALID_ARGUMENT, error_message }))
        }
    };
    let not_found = || NotKnown { error_code: NOT_FOUND, error_message: "not known here".to_owned() };
    Reply {
        valid_host: question.host.clone(),
        told: Some(told.unwrap_or_else(|| Told::Error(not_found()))),
        original_request: Some(question),
    }
}

/// Full names of all services.
pub fn services() -> impl Iterator<Item = &'static str> {
    BOOK.services.iter().map(String::as_str)
}

/// Everything that can be asked for, by name.
#[derive(Default)]
struct Book {
    files: BTreeMap<String, File>,
    /// The file that defines each symbol.
    symbols: BTreeMap<String, String>,
    services: BTreeSet<String>,
}

struct File {
    bytes: Bytes,
    imports: Vec<String>,
}

static BOOK: LazyLock<Book> = LazyLock::new(|| {
    let mut book = Book::default();
    // The set is a part of this program; a test reads all of it.
    let set = FileSet::decode(Bytes::from_static(DESCRIPTORS)).unwrap_or_default();
    set.files.into_iter().for_each(|bytes| book.add(bytes));
    book
});

impl Book {
    fn add(&mut self, bytes: Bytes) {
        let Ok(file) = FileDescriptor::decode(bytes.clone()) else { return };
        for service in &file.services {
            let full = format!("{}.{}", file.package, service.name);
            for method in &service.methods {
                self.symbols.insert(format!("{full}.{}", method.name), file.name.clone());
            }
            self.symbols.insert(full.clone(), file.name.clone());
            self.services.insert(full);
        }
        for named in file.messages.iter().chain(&file.enums) {
            self.add_type(&file.package, named, &file.name);
        }
        self.files.insert(file.name, File { bytes, imports: file.imports });
    }

    fn add_type(&mut self, scope: &str, named: &TypeDescriptor, file: &str) {
        let full = format!("{scope}.{}", named.name);
        for inner in &named.types {
            self.add_type(&full, inner, file);
        }
        self.symbols.insert(full, file.to_owned());
    }

    /// A file and everything that it imports, itself first.
    fn with_imports(&self, name: &str) -> Option<Files> {
        let mut names = vec![name];
        let mut at = 0;
        while let Some(file) = names.get(at).and_then(|name| self.files.get(*name)) {
            let new: Vec<&str> =
                file.imports.iter().map(String::as_str).filter(|name| !names.contains(name)).collect();
            names.extend(new);
            at += 1;
        }
        let files = names.iter().map(|name| self.files.get(*name).map(|file| file.bytes.clone()));
        files.collect::<Option<_>>().map(|files| Files { files })
    }
}

// What is needed of `google/protobuf/descriptor.proto`.

#[derive(Clone, PartialEq, Eq, Message)]
struct FileSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct FileDescriptor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    imports: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<TypeDescriptor>,
    #[prost(message, repeated, tag = "5")]
    enums: Vec<TypeDescriptor>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<ServiceDescriptor>,
}

/// A message; or an enum, of which only the name is read.
#[derive(Clone, PartialEq, Eq, Message)]
struct TypeDescriptor {
    #[prost(string, tag = "1")]
    name: String,
    /// Nested messages. (Number 3 of an enum are its options, of which there are none.)
    #[prost(message, repeated, tag = "3")]
    types: Vec<TypeDescriptor>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ServiceDescriptor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<MethodDescriptor>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct MethodDescriptor {
    #[prost(string, tag = "1")]
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(ask: Ask) -> Told {
        answer(Question { host: "h".to_owned(), ask: Some(ask) }).told.unwrap()
    }

    /// Set `SWITCHBACK_BLESS=1` to write them anew after a change in `proto/`.
    #[test]
    fn the_descriptors_are_those_of_the_proto_files() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = [
            "grpc_service.proto",
            "grpc/health/v1/health.proto",
            "grpc/reflection/v1/reflection.proto",
            "grpc/reflection/v1alpha/reflection.proto",
        ];
        let mut compiler = protox::Compiler::new([root.join("src/inference/grpc_services/proto")]).unwrap();
        compiler.include_imports(true).include_source_info(false).open_files(files).unwrap();
        let compiled = compiler.encode_file_descriptor_set();
        if std::env::var_os("SWITCHBACK_BLESS").is_some() {
            let path = root.join("src/inference/grpc_services/descriptors.bin");
            std::fs::write(path, &compiled).unwrap();
            return;
        }
        assert!(compiled == DESCRIPTORS, "proto/ has changed: run this test with SWITCHBACK_BLESS=1");
    }

    #[test]
    fn every_service_is_listed() {
        let Told::Services(found) = ask(Ask::Services(String::new())) else { panic!() };
        let names: Vec<_> = found.service.iter().map(|service| service.name.as_str()).collect();
        let expected = [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "inference.GRPCInferenceService",
        ];
        assert_eq!(names, expected);
        assert!(services().eq(expected));
    }

    #[test]
    fn a_symbol_comes_with_its_file_and_what_that_imports() {
        for symbol in [
            "inference.GRPCInferenceService",
            "inference.GRPCInferenceService.ModelInfer",
            ".inference.ModelInferRequest.InferInputTensor",
        ] {
            let Told::Files(found) = ask(Ask::Symbol(symbol.to_owned())) else { panic!("{symbol}") };
            let names = found.files.iter().map(|file| FileDescriptor::decode(file.clone()).unwrap().name);
            assert_eq!(names.collect::<Vec<_>>(), ["grpc_service.proto", "model_config.proto"]);
        }
        let Told::Files(found) = ask(Ask::Symbol("inference.DataType".to_owned())) else { panic!() };
        assert_eq!(found.files.len(), 1);
        let Told::Files(found) = ask(Ask::File("grpc/health/v1/health.proto".to_owned())) else { panic!() };
        assert_eq!(found.files.len(), 1);
    }

    #[test]
    fn what_is_not_known_is_an_error_in_the_answer() {
        let unknown = ExtensionAsked { containing_type: "x".to_owned(), extension_number: 1 };
        for ask in [
            Ask::Symbol("inference.Nothing".to_owned()),
            Ask::File("nothing.proto".to_owned()),
            Ask::Extension(unknown),
            Ask::Extensions("x".to_owned()),
        ] {
            let Told::Error(error) = self::ask(ask) else { panic!() };
            assert_eq!(error.error_code, NOT_FOUND);
        }
        let reply = answer(Question { host: "h".to_owned(), ask: None });
        assert!(matches!(reply.told, Some(Told::Error(NotKnown { error_code: INVALID_ARGUMENT, .. }))));
        assert_eq!(reply.valid_host, "h");
    }
}
