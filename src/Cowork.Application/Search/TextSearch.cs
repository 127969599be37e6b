using System.Runtime.InteropServices;

namespace Cowork.Application;

/// <summary>A part of a text.</summary>
/// <param name="Source">Name of the text: a file's path or a memory's id.</param>
/// <param name="FirstLine">From 1; 0: the source has no lines.</param>
public sealed record Passage(string Source, int FirstLine, int LastLine, string Text)
{
    /// <summary>For example <c>data/airports.csv:42</c> or <c>notes.md:3-9</c>.</summary>
    public string Location => FirstLine == 0 ? Source : FirstLine == LastLine ? $"{Source}:{FirstLine}" : $"{Source}:{FirstLine}-{LastLine}";
}

/// <summary>A passage that matches a query.</summary>
/// <param name="Coverage">Part of the query that the passage contains, 0 to 1, weighted by rarity.</param>
public sealed record Hit(Passage Passage, double Score, double Coverage);

/// <param name="UnknownTerms">Terms of the query that no text contains.</param>
public sealed record SearchResult(IReadOnlyList<Hit> Hits, IReadOnlyList<string> UnknownTerms);

/// <summary>Ranks the passages of all texts for a query by BM25 (Robertson and Zaragoza 2009).</summary>
public static class TextSearch
{
    const double K1 = 1.2;
    const double B = 0.75;

    /// <summary>Largest number of query terms; the rarest are used.</summary>
    const int TermsMax = 64;

    /// <summary>Number of best passages that are ranked again: a table row with a whole value of the query scores higher.</summary>
    const int RerankedMax = 50;

    /// <summary>Candidates that are sorted at once; of more, only the best are kept.</summary>
    const int CandidatesMax = 4_096;

    /// <summary>The best passages, best first; equal scores in the order of texts and lines.</summary>
    public static SearchResult Find(IReadOnlyList<TextIndex> texts, string question, int limit, CancellationToken ct = default)
    {
        var queryTerms = Stemmer.QueryTerms(question);
        var passages = texts.Sum(t => (long)t.Count);
        var averageLength = passages == 0 ? 1 : Math.Max(1, texts.Sum(t => (double)t.TotalLength) / passages);
        var counted = queryTerms.Select(term => (Term: term, In: texts.Sum(t => t.IsTitleTerm(term) ? t.Count : (long)t.Postings(term).Length))).ToList();
        var known = counted
            .Where(t => t.In > 0)
            .Select(t => (t.Term, Weight: Math.Log(1 + ((passages - t.In + 0.5) / (t.In + 0.5)))))
            .OrderByDescending(t => t.Weight)
            .Take(TermsMax)
            .ToList();
        List<string> unknown = [.. counted.Where(t => t.In == 0).Select(t => t.Term)];
        // A term that no passage contains has the weight of the rarest possible term.
        var totalWeight = known.Sum(t => t.Weight) + (unknown.Count * Math.Log(1 + ((passages + 0.5) / 0.5)));

        var rerankedMax = Math.Max(RerankedMax, limit);
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
            foreach (var (passage, (score, weight)) in scores)
            {
                candidates.Add((score * (0.5 + (0.5 * weight / totalWeight)), weight / totalWeight, text, passage));
                if (candidates.Count == Math.Max(CandidatesMax, 2 * rerankedMax))
                {
                    ct.ThrowIfCancellationRequested();
                    candidates.Sort(BestFirst);
                    candidates.RemoveRange(rerankedMax, candidates.Count - rerankedMax);
                }
            }
        }
        candidates.Sort(BestFirst);

        var terms = known.Select(t => t.Term).ToHashSet(StringComparer.Ordinal);
        var reranked = candidates.Take(rerankedMax)
            .Select(c => c with { Score = c.Score * (1 + (0.25 * Math.Min(3, CountWholeValues(texts[c.Text], c.Passage, terms)))) })
            .ToList();
        reranked.Sort(BestFirst);
        return new(
            [.. reranked.Take(limit).Select(c => new Hit(texts[c.Text].Passage(c.Passage), c.Score, c.Coverage))],
            unknown);
    }

    static int BestFirst((double Score, double Coverage, int Text, int Passage) a, (double Score, double Coverage, int Text, int Passage) b) =>
        b.Score.CompareTo(a.Score) is not 0 and var byScore ? byScore
        : a.Text != b.Text ? a.Text.CompareTo(b.Text)
        : a.Passage.CompareTo(b.Passage);

    /// <summary>Number of a record's values whose every term is in the query.</summary>
    static int CountWholeValues(TextIndex index, int passage, HashSet<string> terms)
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
