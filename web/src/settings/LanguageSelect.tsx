/** The choice of the language. */

import { useId } from 'react';
import { LANGUAGES, type Language, useSpeech } from '../text';

export function LanguageSelect() {
  const { t, language, setLanguage } = useSpeech();
  const id = useId();
  return (
    <div className="select-row">
      <label htmlFor={id}>{t.language}</label>
      <select
        id={id}
        data-testid="language"
        value={language}
        onChange={(event) => setLanguage(event.target.value as Language)}
      >
        {LANGUAGES.map((choice) => (
          <option key={choice} value={choice}>
            {t.languageNames[choice]}
          </option>
        ))}
      </select>
    </div>
  );
}
