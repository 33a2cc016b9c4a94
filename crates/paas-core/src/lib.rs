//! Model, ports, pure release decisions, engine and in-memory backends of an embeddable PaaS.
