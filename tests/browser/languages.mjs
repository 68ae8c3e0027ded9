// The screens in German and, from right to left, in Arabic.
export async function languages() {}
