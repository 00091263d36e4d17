/** Who is here: nobody yet, or a signed-in person with their messenger. */

import { useEffect, useMemo, useState } from 'react';
import { type Environment, hasEnded, Messenger, type SessionKeeper, type User } from '../sdk';
import { AuthPage } from './auth/AuthPage';
import { deviceName } from './auth/device';
import { Home } from './Home';
import { LiveRegion, MessageAnnouncer } from './shell/announce';
import { MessengerContext } from './shell/messenger';
import { firstLanguage, keepLanguage, type Language, type Speech, SpeechContext, stringsOf, useSpeech } from './text';

const TRY_AGAIN_MS = 3_000;

type Phase = { at: 'checking'; away: boolean } | { at: 'out'; ended: boolean } | { at: 'in'; user: User };

export function App({ env, sessions }: { env: Environment; sessions: SessionKeeper }) {
  const [language, setLanguage] = useState<Language>(firstLanguage);
  const speech = useMemo<Speech>(
    () => ({
      language,
      t: stringsOf(language),
      setLanguage: (next) => {
        keepLanguage(next);
        setLanguage(next);
      },
    }),
    [language],
  );
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  const phase = usePhase(sessions);
  return (
    <SpeechContext value={speech}>
      {phase.at === 'checking' && <Splash away={phase.away} />}
      {phase.at === 'out' && <AuthPage sessions={sessions} ended={phase.ended} />}
      {phase.at === 'in' && <SignedIn key={phase.user.id} env={env} sessions={sessions} user={phase.user} />}
      <LiveRegion />
    </SpeechContext>
  );
}

function Splash({ away }: { away: boolean }) {
  const { t } = useSpeech();
  return (
    <main className="splash">
      <p>{away ? t.auth.away : t.auth.checking}</p>
    </main>
  );
}

/** Asks with the cookie first; then follows what the session keeper tells. */
function usePhase(sessions: SessionKeeper): Phase {
  const [phase, setPhase] = useState<Phase>({ at: 'checking', away: false });
  useEffect(() => {
    let timer = 0;
    const stop = sessions.watch((session) => {
      if (session === null) setPhase({ at: 'out', ended: true });
      else
        setPhase((now) =>
          now.at === 'in' && now.user.id === session.user.id ? now : { at: 'in', user: session.user },
        );
    });
    const check = () => {
      sessions.renew().catch((error: unknown) => {
        if (hasEnded(error)) {
          setPhase((now) => (now.at === 'checking' ? { at: 'out', ended: false } : now));
          return;
        }
        setPhase({ at: 'checking', away: true });
        timer = window.setTimeout(check, TRY_AGAIN_MS);
      });
    };
    if (sessions.session === null) check();
    return () => {
      stop();
      window.clearTimeout(timer);
    };
  }, [sessions]);
  return phase;
}

function SignedIn({ env, sessions, user }: { env: Environment; sessions: SessionKeeper; user: User }) {
  const [messenger, setMessenger] = useState<Messenger | null>(null);
  useEffect(() => {
    const made = new Messenger(env, sessions, user, deviceName());
    setMessenger(made);
    void made.start();
    return () => made.close();
  }, [env, sessions, user]);
  const connected = useMemo(() => (messenger === null ? null : { messenger, sessions }), [messenger, sessions]);
  if (connected === null) return null;
  return (
    <MessengerContext value={connected}>
      <Home />
      <MessageAnnouncer />
    </MessengerContext>
  );
}
