package images

import "runtime"

// architecture is that of this machine, as images name it.
const architecture = runtime.GOARCH
