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
public sealed record Hit(Passage Passage, double Score, double Coverage)
{
    /// <summary>See <see cref="TextKey"/>; empty: the text is not in the index.</summary>
    public string Owner { get; init; } = "";
}

/// <param name="UnknownTerms">Terms of the query that no text contains.</param>
public sealed record SearchResult(IReadOnlyList<Hit> Hits, IReadOnlyList<string> UnknownTerms);

/// <summary>Ranks passages for a query by BM25 (Robertson and Zaragoza 2009): those of the index, or those of texts that were just read.</summary>
public static class TextSearch
{
    /// <summary>Constants of BM25.</summary>
    public const double K1 = 1.2;
    public const double B = 0.75;

    /// <summary>Distinct terms of a query; the rest of a longer one is not looked for.</summary>
    const int AskedMax = 256;

    /// <summary>Largest number of query terms that count; the rarest are used.</summary>
    const int TermsMax = 64;

    /// <summary>Number of best passages that are ranked again: a table row with a whole value of the query scores higher.</summary>
    const int RerankedMax = 50;

    /// <summary>Candidates that are sorted at once; of more, only the best are kept.</summary>
    const int CandidatesMax = 4_096;

    /// <summary>The best passages in some scopes of the index, best first.</summary>
    public static async ValueTask<SearchResult> Find(ITexts index, string org, IReadOnlyList<string> scopes, string question, int limit, CancellationToken ct)
    {
        var terms = Terms(question);
        return terms.Count == 0 ? new([], []) : Rank(await index.Match(org, scopes, terms, Math.Max(RerankedMax, limit), ct), terms, limit);
    }

    /// <summary>The best passages of some texts, best first; equal scores in the order of texts and lines.</summary>
    public static SearchResult Find(IReadOnlyList<TextIndex> texts, string question, int limit, CancellationToken ct = default)
    {
        var terms = Terms(question);
        return Rank(Match(texts, null, terms, Math.Max(RerankedMax, limit), ct), terms, limit);
    }

    /// <summary>What the index would know of a query, from texts in memory.</summary>
    /// <param name="owners">Owners of the texts, in their order; null: they have none.</param>
    public static TextMatches Match(
        IReadOnlyList<TextIndex> texts, IReadOnlyList<string>? owners, IReadOnlyList<string> terms, int max, CancellationToken ct)
    {
        var (passages, length) = (texts.Sum(t => (long)t.Count), texts.Sum(t => t.TotalLength));
        List<long> containing = [.. terms.Select(term => texts.Sum(t => t.IsTitleTerm(term) ? t.Count : (long)t.Postings(term).Length))];
        var query = new Weighted(passages, length, containing);
        var candidates = new List<(double Score, int Text, int Passage)>();
        for (var text = 0; text < texts.Count; text++)
        {
            var index = texts[text];
            var scores = new Dictionary<int, (double Score, double Weight)>();
            foreach (var term in query.Known)
            {
                ct.ThrowIfCancellationRequested();
                foreach (var posting in index.Postings(terms[term]))
                {
                    ref var sum = ref CollectionsMarshal.GetValueRefOrAddDefault(scores, posting.Passage, out _);
                    sum = (sum.Score + query.Score(term, posting.Count, index.Length(posting.Passage)), sum.Weight + query.Weight(term));
                }
            }
            foreach (var (passage, (score, weight)) in scores)
            {
                candidates.Add((query.Total(score, weight), text, passage));
                if (candidates.Count == Math.Max(CandidatesMax, 2 * max))
                {
                    ct.ThrowIfCancellationRequested();
                    Keep();
                }
            }
        }
        Keep();
        candidates.Sort((a, b) => (a.Text, a.Passage).CompareTo((b.Text, b.Passage)));
        return new(passages, length, containing, [.. candidates.Select(c => Candidate(texts[c.Text], owners?[c.Text] ?? "", c.Passage))]);

        void Keep()
        {
            candidates.Sort((a, b) => (-a.Score, a.Text, a.Passage).CompareTo((-b.Score, b.Text, b.Passage)));
            candidates.RemoveRange(Math.Min(max, candidates.Count), Math.Max(0, candidates.Count - max));
        }

        Candidate Candidate(TextIndex index, string owner, int passage)
        {
            int CountOf(string term)
            {
                var postings = index.Postings(term);
                return postings.BinarySearch(new Posting(passage, 0), ByPassage) is >= 0 and var at ? postings[at].Count : 0;
            }
            return new(owner, index.Passage(passage), index.Fields(passage), index.Length(passage), [.. terms.Select(CountOf)]);
        }
    }

    static readonly Comparer<Posting> ByPassage = Comparer<Posting>.Create((a, b) => a.Passage.CompareTo(b.Passage));

    static List<string> Terms(string question) => [.. Stemmer.QueryTerms(question).Take(AskedMax)];

    static SearchResult Rank(TextMatches matches, List<string> terms, int limit)
    {
        var query = new Weighted(matches.Passages, matches.Length, matches.Containing);
        var known = query.Known.Select(term => terms[term]).ToHashSet(StringComparer.Ordinal);
        var hits = new List<Hit>();
        foreach (var candidate in matches.Candidates)
        {
            var (score, weight) = (0.0, 0.0);
            foreach (var term in query.Known)
            {
                if (candidate.Counts[term] is > 0 and var count)
                {
                    score += query.Score(term, count, candidate.Terms);
                    weight += query.Weight(term);
                }
            }
            var whole = 1 + (0.25 * Math.Min(3, CountWholeValues(candidate.Fields, known)));
            hits.Add(new(candidate.Passage, query.Total(score, weight) * whole, query.Coverage(weight)) { Owner = candidate.Owner });
        }
        return new([.. hits.OrderByDescending(hit => hit.Score).Take(limit)], [.. terms.Where((_, term) => matches.Containing[term] == 0)]);
    }

    /// <summary>Number of a record's values whose every term is in the query.</summary>
    static int CountWholeValues(IReadOnlyList<(string Name, string Value)> fields, HashSet<string> terms)
    {
        var words = new List<string>();
        var count = 0;
        foreach (var (_, value) in fields)
        {
            words.Clear();
            Stemmer.Collect(value, words);
            count += words.Count > 0 && words.TrueForAll(terms.Contains) ? 1 : 0;
        }
        return count;
    }

    /// <summary>A query's terms by their rarity. A term is its place in the query.</summary>
    sealed class Weighted
    {
        readonly Dictionary<int, double> weights;
        readonly double average, total;

        public Weighted(long passages, long length, IReadOnlyList<long> containing)
        {
            average = passages == 0 ? 1 : Math.Max(1, (double)length / passages);
            Known = [.. Enumerable.Range(0, containing.Count).Where(term => containing[term] > 0).OrderBy(term => containing[term]).Take(TermsMax)];
            weights = Known.ToDictionary(term => term, term => Rarity(containing[term]));
            // A term that no passage contains has the weight of the rarest possible term.
            total = weights.Values.Sum() + (containing.Count(n => n == 0) * Rarity(0));

            double Rarity(long n) => Math.Log(1 + ((passages - n + 0.5) / (n + 0.5)));
        }

        /// <summary>The terms that count, rarest first.</summary>
        public IReadOnlyList<int> Known { get; }

        public double Weight(int term) => weights[term];

        public double Score(int term, int count, int length) => weights[term] * count * (K1 + 1) / (count + (K1 * (1 - B + (B * length / average))));

        public double Coverage(double weight) => weight / total;

        public double Total(double score, double weight) => score * (0.5 + (0.5 * Coverage(weight)));
    }
}
