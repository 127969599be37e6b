using System.Runtime.InteropServices;

namespace Cowork.Application;

/// <summary>
/// An inverted index over many short texts, scored as BM25 without the length of a text: rare terms count for more than common ones, and the second mention for less
/// than the first. Not thread-safe.
/// </summary>
public sealed class TermIndex
{
    /// <summary>Terms of a query that are searched for, the rarest first.</summary>
    public const int QuestionTermsMax = 64;

    const double Saturation = 1.2;

    /// <summary>Rough sizes in memory, in bytes.</summary>
    const int BytesPerPosting = 8;
    const int BytesPerTerm = 250;

    readonly Dictionary<string, List<Posting>> postings = new(StringComparer.Ordinal);
    readonly List<bool> isLive = [];
    double[] scores = [];
    long entries;

    /// <summary>Number of texts.</summary>
    public int Count { get; private set; }

    /// <summary>Estimated bytes in memory.</summary>
    public long Bytes => (entries * BytesPerPosting) + ((long)postings.Count * BytesPerTerm);

    /// <summary>More than half of the slots belong to removed texts: call <see cref="Compact"/>.</summary>
    public bool IsSparse => isLive.Count > (2 * Count) + 256;

    /// <summary>The terms of a text or a query, without stop words.</summary>
    public static List<string> Terms(ReadOnlySpan<char> text)
    {
        var terms = new List<string>();
        Stemmer.Collect(text, terms, keepStopWords: false);
        return terms;
    }

    /// <summary>Adds a text. Returns its slot.</summary>
    public int Add(IReadOnlyList<string> terms)
    {
        var slot = isLive.Count;
        isLive.Add(true);
        Count++;
        foreach (var term in terms)
        {
            ref var list = ref CollectionsMarshal.GetValueRefOrAddDefault(postings, term, out _);
            list ??= [];
            if (list is [.., var last] && last.Slot == slot)
            {
                CollectionsMarshal.AsSpan(list)[^1] = last with { Times = last.Times + 1 };
            }
            else
            {
                list.Add(new(slot, 1));
                entries++;
            }
        }
        return slot;
    }

    /// <summary>Removes a text. Its postings stay until the next <see cref="Compact"/>.</summary>
    public void Remove(int slot)
    {
        Count -= isLive[slot] ? 1 : 0;
        isLive[slot] = false;
    }

    /// <summary>Drops the postings of removed texts. Returns the new slot of each old one; entries of removed texts are undefined.</summary>
    public int[] Compact()
    {
        var moved = new int[isLive.Count];
        var next = 0;
        for (var slot = 0; slot < moved.Length; slot++)
        {
            moved[slot] = next;
            next += isLive[slot] ? 1 : 0;
        }
        entries = 0;
        foreach (var (term, list) in postings)
        {
            list.RemoveAll(posting => !isLive[posting.Slot]);
            var span = CollectionsMarshal.AsSpan(list);
            for (var i = 0; i < span.Length; i++)
            {
                span[i] = span[i] with { Slot = moved[span[i].Slot] };
            }
            entries += span.Length;
            if (span.Length == 0)
            {
                // Removing the entry under way is allowed while a dictionary is enumerated.
                postings.Remove(term);
            }
        }
        isLive.Clear();
        isLive.AddRange(Enumerable.Repeat(true, next));
        return moved;
    }

    /// <summary>Every text that shares a term with the query, unordered.</summary>
    public List<(int Slot, double Score)> Find(IReadOnlyList<string> question)
    {
        if (scores.Length < isLive.Count)
        {
            scores = new double[Math.Max(isLive.Count, scores.Length * 2)];
        }
        var found = new List<(int Slot, double Score)>();
        foreach (var (term, weight) in Weighed(question.Where(postings.ContainsKey)))
        {
            foreach (var posting in postings[term])
            {
                if (isLive[posting.Slot])
                {
                    if (scores[posting.Slot] == 0)
                    {
                        found.Add((posting.Slot, 0));
                    }
                    scores[posting.Slot] += weight * Mentions(posting.Times);
                }
            }
        }
        foreach (ref var hit in CollectionsMarshal.AsSpan(found))
        {
            (hit.Score, scores[hit.Slot]) = (scores[hit.Slot], 0);
        }
        return found;
    }

    /// <summary>The score of a text that is not in the index.</summary>
    public double Score(IReadOnlyList<string> question, IReadOnlyList<string> terms)
    {
        var score = 0.0;
        foreach (var (term, weight) in Weighed(question.Where(terms.Contains)))
        {
            score += weight * Mentions(terms.Count(t => t == term));
        }
        return score;
    }

    static double Mentions(int times) => times * (Saturation + 1) / (times + Saturation);

    /// <summary>The query's terms with their weights, the rarest first.</summary>
    IEnumerable<(string Term, double Weight)> Weighed(IEnumerable<string> question) =>
        question.Distinct(StringComparer.Ordinal)
            .Select(term => (Term: term, In: postings.GetValueOrDefault(term)?.Count ?? 0))
            .OrderBy(term => term.In).ThenBy(term => term.Term, StringComparer.Ordinal)
            .Take(QuestionTermsMax)
            .Select(term => (term.Term, Math.Log(1 + ((isLive.Count + 1.0) / (term.In + 0.5)))));

    readonly record struct Posting(int Slot, int Times);
}
