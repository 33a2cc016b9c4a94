package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStatIsReadBehindANameWithParentheses(t *testing.T) {
	text := "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2000"
	state, start, err := parseStat(text)
	if err != nil || state != "S" || start != 98765 {
		t.Errorf("got %q, %d, %v", state, start, err)
	}
}

func TestThisProcessIsAliveAndItsNumberWithAnotherStartIsNot(t *testing.T) {
	this, found := find(os.Getpid())
	if !found || !this.Alive() {
		t.Fatal("this process is not found")
	}
	if (Process{PID: this.PID, Start: this.Start + 1}).Alive() {
		t.Error("a process that started at another time is taken for this one")
	}
}

func TestARecordThatWasCutOffIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	if err := os.WriteFile(path, []byte(`{"pid": 1, "sta`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, alive := Recorded(path); alive {
		t.Error("it is taken for a process")
	}
}

func TestTheTailOfALogBeginsAtTheLastStart(t *testing.T) {
	got := lastLines("==== x started\nold\n==== x started again\nnew 1\nnew 2\n")
	if strings.Contains(got, "old") || !strings.HasPrefix(got, "  ==== x started again") {
		t.Errorf("got %q", got)
	}
	if got := lastLines(strings.Repeat("line\n", 100)); strings.Count(got, "line") != tailLines {
		t.Errorf("got %q", got)
	}
}
