/** The forms of a word after a number; languages use those that they have, `other` stands for the rest. */

export type Forms = { other: string } & Partial<Record<Intl.LDMLPluralRule, string>>;

export function plural(language: string): (n: number, forms: Forms) => string {
  const rules = new Intl.PluralRules(language);
  return (n, forms) => forms[rules.select(n)] ?? forms.other;
}
