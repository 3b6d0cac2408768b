import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** A library that makes each sync to disk take so much longer, to be preloaded into Postgres. Needs a C compiler (`cc`). */
export function buildSlowDisk(extraMs: number): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'backstitch-slow-disk-'))
  const [source, library] = [path.join(directory, 'slow.c'), path.join(directory, 'slow.so')]
  fs.writeFileSync(source, SOURCE)
  execFileSync('cc', [
    '-shared',
    '-fPIC',
    '-O2',
    `-DEXTRA_US=${Math.round(extraMs * 1_000)}`,
    '-o',
    library,
    source,
    '-ldl',
  ])
  // Postgres may run under another account.
  fs.chmodSync(directory, 0o755)
  return library
}

const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int after(const char *name, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int result = real(fd);
  usleep(EXTRA_US);
  return result;
}
int fdatasync(int fd) { return after("fdatasync", fd); }
int fsync(int fd) { return after("fsync", fd); }
`
