//! The methods that a descriptor set describes: for tests that no method is forgotten.

use prost::Message as _;

/// As `package.Service/Method`, sorted.
pub fn methods(descriptors: &[u8]) -> Vec<String> {
    let set = FileNames::decode(descriptors);
    let files = set.expect("a set that the build made").files;
    let mut named = Vec::new();
    for file in files {
        for service in file.services {
            for method in service.methods {
                named.push(format!("{}.{}/{}", file.package, service.name, method.name));
            }
        }
    }
    named.sort();
    named
}

// Just enough of google.protobuf.FileDescriptorSet.
#[derive(prost::Message)]
struct FileNames {
    #[prost(message, repeated, tag = "1")]
    files: Vec<FileName>,
}

#[derive(prost::Message)]
struct FileName {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<ServiceName>,
}

#[derive(prost::Message)]
struct ServiceName {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<MethodName>,
}

#[derive(prost::Message)]
struct MethodName {
    #[prost(string, tag = "1")]
    name: String,
}
