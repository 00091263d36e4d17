/** The account, the language and the theme, and where the person is signed in. */

import { useCallback, useEffect, useId, useState } from 'react';
import type { SessionInfo } from '../../sdk';
import { forgetDrafts } from '../composer/draft';
import { Field, FormProblem, field, useSubmit } from '../shell/form';
import { BackIcon } from '../shell/icons';
import { useConnected } from '../shell/messenger';
import { problemText } from '../shell/problems';
import { go } from '../shell/route';
import { applyTheme, firstTheme, THEMES, type Theme } from '../shell/theme';
import { dateAndTime, useSpeech } from '../text';
import { LanguageSelect } from './LanguageSelect';
import './settings.css';

export function Settings() {
  const { t } = useSpeech();
  const { messenger, sessions } = useConnected();
  const { username } = messenger.me;
  const [email, setEmail] = useState((sessions.user ?? messenger.me).email);
  const logout = async () => {
    await messenger.forgetUnsent();
    forgetDrafts(messenger.me.id);
    go({ at: 'home' });
    await sessions.logout();
  };
  return (
    <section className="settings pane" aria-label={t.settings.title} data-testid="settings">
      <header className="pane-head">
        <button type="button" className="icon-button" aria-label={t.back} onClick={() => go({ at: 'home' })}>
          <BackIcon />
        </button>
        <h1>{t.settings.title}</h1>
      </header>
      <div className="settings-body">
        <section className="card" aria-labelledby="settings-account">
          <h2 id="settings-account">{t.settings.account}</h2>
          <p className="account-name">{username}</p>
          {email ? (
            <p className="muted" data-testid="email">
              {email}
            </p>
          ) : null}
          <EmailForm onChanged={setEmail} />
          <button type="button" className="button" data-testid="logout" onClick={logout}>
            {t.settings.logout}
          </button>
        </section>
        <section className="card" aria-labelledby="settings-looks">
          <h2 id="settings-looks">{t.settings.appearance}</h2>
          <LanguageSelect />
          <ThemeSelect />
        </section>
        <Sessions />
      </div>
    </section>
  );
}

function EmailForm({ onChanged }: { onChanged(email: string): void }) {
  const { t } = useSpeech();
  const { messenger, sessions } = useConnected();
  const [open, setOpen] = useState(false);
  const { busy, problem, submit } = useSubmit(async (fields) => {
    const email = field(fields, 'email').trim();
    await messenger.api.changeEmail(email, field(fields, 'password'));
    onChanged(email);
    setOpen(false);
    await sessions.renew().catch(() => {
      // The next renewal of the token tells the rest of the page.
    });
  });
  if (!open) {
    return (
      <button type="button" className="button" data-testid="change-email" onClick={() => setOpen(true)}>
        {t.settings.changeEmail}
      </button>
    );
  }
  return (
    <form className="form" onSubmit={submit} data-testid="email-form" aria-label={t.settings.changeEmail}>
      <Field name="email" label={t.settings.newEmail} type="email" autoComplete="email" />
      <Field
        name="password"
        label={t.settings.currentPassword}
        hint={t.settings.currentPasswordWhy}
        type="password"
        autoComplete="current-password"
      />
      <FormProblem text={problem} />
      <div className="form-actions">
        <button type="submit" className="button primary" disabled={busy} data-testid="email-submit">
          {t.settings.changeEmail}
        </button>
        <button type="button" className="button" onClick={() => setOpen(false)}>
          {t.assistant.cancel}
        </button>
      </div>
    </form>
  );
}

function ThemeSelect() {
  const { t } = useSpeech();
  const [theme, setTheme] = useState<Theme>(firstTheme);
  const id = useId();
  const choose = (next: Theme) => {
    applyTheme(next);
    setTheme(next);
  };
  return (
    <div className="select-row">
      <label htmlFor={id}>{t.theme}</label>
      <select id={id} data-testid="theme" value={theme} onChange={(event) => choose(event.target.value as Theme)}>
        {THEMES.map((choice) => (
          <option key={choice} value={choice}>
            {t.themes[choice]}
          </option>
        ))}
      </select>
    </div>
  );
}

function Sessions() {
  const { t, language } = useSpeech();
  const { messenger } = useConnected();
  const [list, setList] = useState<SessionInfo[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const read = useCallback(async () => {
    try {
      setList(await messenger.api.sessions());
      setProblem(null);
    } catch (error) {
      setProblem(problemText(t, error));
    }
  }, [messenger, t]);
  useEffect(() => {
    void read();
  }, [read]);
  const end = async (id: string) => {
    try {
      await messenger.api.endSession(id);
    } catch (error) {
      setProblem(problemText(t, error));
    }
    await read();
  };
  return (
    <section className="card" aria-labelledby="settings-sessions">
      <h2 id="settings-sessions">{t.settings.sessions}</h2>
      {problem !== null && (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
      <ul className="sessions" data-testid="sessions">
        {(list ?? []).map(({ id, device, last_used_at, current }) => (
          <li key={id} className="session" data-testid="session" data-current={current}>
            <div>
              <p>{device || t.settings.unnamed}</p>
              <p className="muted">
                {current ? t.settings.current : t.settings.lastUsed(dateAndTime(language, last_used_at))}
              </p>
            </div>
            {!current && (
              <button
                type="button"
                className="button small"
                data-testid="session-end"
                aria-label={t.settings.signOutOf(device || t.settings.unnamed)}
                onClick={() => end(id)}
              >
                {t.settings.signOut}
              </button>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}
