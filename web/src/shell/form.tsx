/** What the forms of the page have in common: labelled fields, one request at a time, and its error. */

import { type FormEvent, useId, useState } from 'react';
import { useSpeech } from '../text';
import { problemText } from './problems';
import './form.css';

/** Runs one request at a time and keeps its error for the form. */
export function useSubmit(action: (fields: FormData) => Promise<unknown>) {
  const { t } = useSpeech();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await action(new FormData(event.currentTarget));
    } catch (error) {
      setProblem(problemText(t, error));
    } finally {
      setBusy(false);
    }
  };
  return { busy, problem, submit };
}

/** What stands in a field. */
export const field = (fields: FormData, name: string): string => String(fields.get(name) ?? '');

interface FieldProps {
  name: string;
  label: string;
  hint?: string;
  type?: 'text' | 'email' | 'password';
  autoComplete: string;
}

export function Field({ name, label, hint, type = 'text', autoComplete }: FieldProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        name={name}
        type={type}
        required
        autoComplete={autoComplete}
        autoCapitalize="none"
        spellCheck={false}
        aria-describedby={hint === undefined ? undefined : `${id}-hint`}
      />
      {hint !== undefined && (
        <small id={`${id}-hint`} className="muted">
          {hint}
        </small>
      )}
    </div>
  );
}

export const FormProblem = ({ text }: { text: string | null }) =>
  text === null ? null : (
    <p className="problem" role="alert" data-testid="form-problem">
      {text}
    </p>
  );
