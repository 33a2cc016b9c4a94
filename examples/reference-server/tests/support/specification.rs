//! Specifications as people write them.

/// The sample's web component alone, behind an access point.
#[derive(Debug, Clone)]
pub struct Web {
    image: String,
    count: u32,
    env: Vec<String>,
    more: Vec<String>,
    strategy: Vec<String>,
}

impl Web {
    /// `count` instances of `image`.
    pub fn new(image: &str, count: u32) -> Self {
        Self { image: image.to_owned(), count, env: Vec::new(), more: Vec::new(), strategy: Vec::new() }
    }

    /// A version of the layout `images` beside the specification.
    pub fn version(version: &str, count: u32) -> Self {
        Self::new(&format!("oci:images:{version}"), count)
    }

    /// With an entry of the environment, such as `LEVEL: {config: LEVEL}`.
    pub fn env(mut self, entry: &str) -> Self {
        self.env.push(entry.to_owned());
        self
    }

    /// With a field of the component, such as `resources: {memory: 16Mi}`.
    pub fn with(mut self, field: &str) -> Self {
        self.more.push(format!("  {field}\n"));
        self
    }

    /// Released by batches of one, 30 % and the rest.
    pub fn in_batches(self) -> Self {
        self.strategy("batches: [1, 30%]")
    }

    /// With a field of the rolling strategy.
    pub fn strategy(mut self, field: &str) -> Self {
        self.strategy.push(field.to_owned());
        self
    }

    /// As a file.
    pub fn yaml(&self) -> String {
        let Self { image, count, env, more, strategy } = self;
        let strategy = format!("  type: rolling\n{}", indented(strategy));
        format!(
            "components:
- name: web
  image: '{image}'
  args: [web]
  ports: [{{name: http, number: 8080}}]
  env: {{{}}}
  instances: {{count: {count}}}
  probes: {{readiness: {{http: {{path: /readyz}}}}}}
{}routes: [{{name: web, component: web}}]
strategy:
{strategy}",
            env.join(", "),
            more.concat(),
        )
    }
}

/// The sample with a web component, an API that it calls, and a worker that declares no dependency.
pub fn shop(version: &str, count: u32) -> String {
    shop_of(&format!("oci:images:{version}"), count)
}

/// The same of this image.
pub fn shop_of(image: &str, count: u32) -> String {
    format!(
        "components:
- name: web
  image: '{image}'
  args: [web]
  ports: [{{name: http, number: 8080}}]
  env: {{API_URL: 'http://api:9000'}}
  depends_on: [{{component: api}}]
  instances: {{count: {count}}}
  probes: {{readiness: {{http: {{path: /readyz}}}}}}
- name: api
  image: '{image}'
  args: [api]
  ports: [{{name: http, number: 9000}}]
  env: {{PORT: '9000'}}
  probes: {{readiness: {{http: {{path: /readyz}}}}}}
- name: worker
  kind: worker
  image: '{image}'
  args: [worker]
  env: {{WORK_INTERVAL_MS: '100'}}
routes: [{{name: web, component: web}}]
"
    )
}

/// Fields of a mapping that is one level in.
fn indented(fields: &[String]) -> String {
    fields.iter().fold(String::new(), |text, field| text + "  " + field + "\n")
}
