using System.Runtime.InteropServices;

namespace Cowork.Application;

/// <summary>A piece of a text that was found.</summary>
/// <param name="Source">What the text is called: a file's path, a memory's id.</param>
/// <param name="FirstLine">From 1; 0 when the source has no lines to speak of.</param>
public sealed record Passage(string Source, int FirstLine, int LastLine, string Text)
{
    /// <summary>For example <c>data/airports.csv:42</c> or <c>notes.md:3-9</c>.</summary>
    public string Place => FirstLine == 0 ? Source : FirstLine == LastLine ? $"{Source}:{FirstLine}" : $"{Source}:{FirstLine}-{LastLine}";
}

/// <param name="Coverage">How much of the question the passage speaks of, 0 to 1, rare words counting more.</param>
public sealed record Hit(Passage Passage, double Score, double Coverage);

/// <param name="Unknown">Words of the question that stand nowhere.</param>
public sealed record Findings(IReadOnlyList<Hit> Hits, IReadOnlyList<string> Unknown);

/// <summary>Which passages of which texts speak of a question: BM25 (Robertson and Zaragoza 2009) over the passages of all texts together.</summary>
public static class TextSearch
{
    const double K1 = 1.2;
    const double B = 0.75;

    /// <summary>Words of a question that are looked at, the rarest first; a question longer than that is a text.</summary>
    const int TermsMax = 64;

    /// <summary>Best passages that are looked at more closely: those of tables, where a value that the question names whole counts more.</summary>
    const int CloserLook = 50;

    /// <summary>The best passages for a question, best first; equal ones in the order of the texts and their lines.</summary>
    public static Findings Find(IReadOnlyList<TextIndex> texts, string question, int limit, CancellationToken ct = default)
    {
        var asked = Stemmer.OfQuestion(question);
        var passages = texts.Sum(t => (long)t.Count);
        var averageLength = passages == 0 ? 1 : Math.Max(1, texts.Sum(t => (double)t.TotalLength) / passages);
        var counted = asked.Select(term => (Term: term, In: texts.Sum(t => t.IsAbout(term) ? t.Count : (long)t.Postings(term).Length))).ToList();
        var known = counted
            .Where(t => t.In > 0)
            .Select(t => (t.Term, Weight: Math.Log(1 + ((passages - t.In + 0.5) / (t.In + 0.5)))))
            .OrderByDescending(t => t.Weight)
            .Take(TermsMax)
            .ToList();
        List<string> unknown = [.. counted.Where(t => t.In == 0).Select(t => t.Term)];
        // A word that stands nowhere is one that no passage speaks of: it counts like the rarest there could be.
        var whole = known.Sum(t => t.Weight) + (unknown.Count * Math.Log(1 + ((passages + 0.5) / 0.5)));

        var candidates = new List<(double Score, double Coverage, int Text, int Passage)>();
        for (var text = 0; text < texts.Count; text++)
        {
            var index = texts[text];
            var scores = new Dictionary<int, (double Score, double Weight)>();
            foreach (var (term, weight) in known)
            {
                ct.ThrowIfCancellationRequested();
                foreach (var posting in index.Postings(term))
                {
                    ref var sum = ref CollectionsMarshal.GetValueRefOrAddDefault(scores, posting.Passage, out _);
                    var norm = posting.Count + (K1 * (1 - B + (B * index.Length(posting.Passage) / averageLength)));
                    sum = (sum.Score + (weight * posting.Count * (K1 + 1) / norm), sum.Weight + weight);
                }
            }
            candidates.AddRange(scores.Select(s =>
                (s.Value.Score * (0.5 + (0.5 * s.Value.Weight / whole)), s.Value.Weight / whole, text, s.Key)));
        }
        candidates.Sort(BestFirst);

        var terms = known.Select(t => t.Term).ToHashSet(StringComparer.Ordinal);
        var closer = candidates.Take(Math.Max(CloserLook, limit))
            .Select(c => c with { Score = c.Score * (1 + (0.25 * Math.Min(3, WholeValues(texts[c.Text], c.Passage, terms)))) })
            .ToList();
        closer.Sort(BestFirst);
        return new(
            [.. closer.Take(limit).Select(c => new Hit(texts[c.Text].Passage(c.Passage), c.Score, c.Coverage))],
            unknown);
    }

    static int BestFirst((double Score, double Coverage, int Text, int Passage) a, (double Score, double Coverage, int Text, int Passage) b) =>
        b.Score.CompareTo(a.Score) is not 0 and var byScore ? byScore
        : a.Text != b.Text ? a.Text.CompareTo(b.Text)
        : a.Passage.CompareTo(b.Passage);

    static int WholeValues(TextIndex index, int passage, HashSet<string> terms)
    {
        var words = new List<string>();
        var count = 0;
        foreach (var (_, value) in index.Fields(passage))
        {
            words.Clear();
            Stemmer.Collect(value, words);
            count += words.Count > 0 && words.TrueForAll(terms.Contains) ? 1 : 0;
        }
        return count;
    }
}
