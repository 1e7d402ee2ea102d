/** What was probably meant, by the measure of Python's `difflib`, so that both clients suggest the same. */

/** `did you mean 'x'?`, or the list of what there is. */
export function suggest(word: string, known: Iterable<string>): string {
  const names = [...known].sort();
  const near = closest(word, names, 0.5);
  if (near !== null) return `did you mean '${near}'?`;
  return names.length > 0 ? `there is ${names.join(", ")}` : "there is none";
}

/** The name that is most like the word, if it is at least so much alike (0 to 1). */
export function closest(word: string, names: readonly string[], cutoff: number): string | null {
  let best: string | null = null;
  let most = cutoff;
  for (const name of names) {
    const alike = ratio(name, word);
    if (alike > most || (alike === most && (best === null || name > best))) {
      best = name;
      most = alike;
    }
  }
  return best;
}

/** Ratcliff and Obershelp: twice the characters in matching blocks, of all characters. */
function ratio(a: string, b: string): number {
  return a.length + b.length === 0 ? 1 : (2 * matching(a, b)) / (a.length + b.length);
}

function matching(a: string, b: string): number {
  let size = 0;
  let atA = 0;
  let atB = 0;
  for (let i = 0; i < a.length; i += 1) {
    for (let j = 0; j < b.length; j += 1) {
      let length = 0;
      while (i + length < a.length && j + length < b.length && a[i + length] === b[j + length]) length += 1;
      if (length > size) [size, atA, atB] = [length, i, j];
    }
  }
  if (size === 0) return 0;
  return size + matching(a.slice(0, atA), b.slice(0, atB)) + matching(a.slice(atA + size), b.slice(atB + size));
}
