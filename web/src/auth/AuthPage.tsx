/** Signing in and creating an account. */

import { useState } from 'react';
import type { SessionKeeper } from '../../sdk';
import { LanguageSelect } from '../settings/LanguageSelect';
import { Field, FormProblem, field, useSubmit } from '../shell/form';
import { useSpeech } from '../text';
import { deviceName } from './device';
import './auth.css';

export function AuthPage({ sessions, ended }: { sessions: SessionKeeper; ended: boolean }) {
  const { t } = useSpeech();
  const [creating, setCreating] = useState(false);
  const Form = creating ? RegisterForm : LoginForm;
  return (
    <main className="auth-page">
      <div className="auth-card">
        <header className="auth-head">
          <img src="/icon.svg" alt="" width="48" height="48" />
          <h1>{t.appName}</h1>
          <p className="muted">{t.auth.tagline}</p>
        </header>
        {ended && <p className="notice">{t.auth.ended}</p>}
        <Form sessions={sessions} />
        <button
          type="button"
          className="link-button"
          data-testid={creating ? 'to-login' : 'to-register'}
          onClick={() => setCreating(!creating)}
        >
          {creating ? t.auth.toSignIn : t.auth.toRegister}
        </button>
      </div>
      <LanguageSelect />
    </main>
  );
}

function LoginForm({ sessions }: { sessions: SessionKeeper }) {
  const { t } = useSpeech();
  const { busy, problem, submit } = useSubmit((fields) =>
    sessions.login({ login: field(fields, 'login').trim(), password: field(fields, 'password'), device: deviceName() }),
  );
  return (
    <form className="form" onSubmit={submit} data-testid="login-form" aria-label={t.auth.signIn}>
      <Field name="login" label={t.auth.login} autoComplete="username" />
      <Field name="password" label={t.auth.password} type="password" autoComplete="current-password" />
      <FormProblem text={problem} />
      <button type="submit" className="button primary" disabled={busy} data-testid="login-submit">
        {t.auth.signIn}
      </button>
    </form>
  );
}

function RegisterForm({ sessions }: { sessions: SessionKeeper }) {
  const { t } = useSpeech();
  const { busy, problem, submit } = useSubmit((fields) =>
    sessions.register({
      username: field(fields, 'username').trim(),
      email: field(fields, 'email').trim(),
      password: field(fields, 'password'),
      device: deviceName(),
    }),
  );
  return (
    <form className="form" onSubmit={submit} data-testid="register-form" aria-label={t.auth.register}>
      <Field name="username" label={t.auth.username} hint={t.auth.usernameHint} autoComplete="username" />
      <Field name="email" label={t.auth.email} type="email" autoComplete="email" />
      <Field
        name="password"
        label={t.auth.password}
        hint={t.auth.passwordHint}
        type="password"
        autoComplete="new-password"
      />
      <FormProblem text={problem} />
      <button type="submit" className="button primary" disabled={busy} data-testid="register-submit">
        {t.auth.register}
      </button>
    </form>
  );
}
