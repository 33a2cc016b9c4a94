package process

import (
	"os"
	"strings"
)

// tailLines is how many lines of a log a failure shows; enough for a stack of errors, and still one screen.
const tailLines = 20

// tailWidth is where a line is cut off; servers log whole objects.
const tailWidth = 300

// Tail is the last lines of a log since its server was last started, for a message about a failure.
func Tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	return path + ":\n" + lastLines(string(text))
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for index := len(lines) - 1; index > 0; index-- {
		if strings.HasPrefix(lines[index], "==== ") {
			lines = lines[index:]
			break
		}
	}
	for index, line := range lines {
		if len(line) > tailWidth {
			lines[index] = line[:tailWidth] + "…"
		}
	}
	return "  " + strings.Join(lines, "\n  ")
}
