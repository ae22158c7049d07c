#include "ptx.h"
#include <cctype>
#include <cstdlib>

namespace cuda_on_cpu {

// The words of a text: what lies between white space and any of ( ) { } [ ] , ; which are words of their own.
class Words {
public:
    explicit Words(const std::string &text) : text(text) {}

    // Empty at the end of the text.
    std::string next() {
        while (skip_space() || skip_comment()) {}
        if (at == text.size()) return {};
        const std::size_t from = at++;
        if (is_mark(text[from])) return text.substr(from, 1);
        while (at < text.size() && !is_mark(text[at]) && !std::isspace(static_cast<unsigned char>(text[at]))) at++;
        return text.substr(from, at - from);
    }

    std::size_t number() { return std::strtoull(next().c_str(), nullptr, 0); }

private:
    static bool is_mark(char c) { return std::string("(){}[],;").find(c) != std::string::npos; }

    bool skip_space() {
        if (at == text.size() || !std::isspace(static_cast<unsigned char>(text[at]))) return false;
        at++;
        return true;
    }

    bool skip_comment() {
        if (text.compare(at, 2, "//") != 0) return false;
        at = text.find('\n', at);
        if (at == std::string::npos) at = text.size();
        return true;
    }

    const std::string &text;
    std::size_t at = 0;
};

// Of a type such as .f32 or .b8; zero for any other word.
static std::size_t size_of_type(const std::string &word) {
    if (word.size() < 3 || word[0] != '.' || std::string("usbf").find(word[1]) == std::string::npos) return 0;
    for (std::size_t i = 2; i < word.size(); i++)
        if (!std::isdigit(static_cast<unsigned char>(word[i]))) return 0;
    return static_cast<std::size_t>(std::atoi(word.c_str() + 2)) / 8;
}

// What follows .param or .shared: a type, perhaps an alignment, a name, perhaps [a length]. `word` is left behind it.
static std::size_t size_of_variable(Words &words, std::string &word) {
    std::size_t size = 0;
    for (word = words.next(); !word.empty() && word != "," && word != ")" && word != ";"; word = words.next()) {
        if (word == "[") size *= words.number();
        else if (size == 0) size = size_of_type(word);
    }
    return size;
}

static PtxEntry read_entry(Words &words) {
    PtxEntry entry;
    std::string word = words.next();
    while (!word.empty() && word != "{") {
        if (word == ".param") {
            entry.parameter_sizes.push_back(size_of_variable(words, word));
            continue;
        }
        if (word == ".maxntid" || word == ".reqntid") {
            entry.max_threads = words.number();
            for (word = words.next(); word == ","; word = words.next()) entry.max_threads *= words.number();
            continue;
        }
        word = words.next();
    }
    for (int depth = 1; depth > 0 && !word.empty();) {
        word = words.next();
        if (word == "{") depth++;
        if (word == "}") depth--;
        if (word == ".shared") entry.shared_bytes += size_of_variable(words, word);
    }
    return entry;
}

bool read_ptx(const std::string &text, std::map<std::string, PtxEntry> &entries) {
    if (text.find(".version") == std::string::npos || text.find(".target") == std::string::npos) return false;
    Words words(text);
    for (std::string word = words.next(); !word.empty(); word = words.next()) {
        if (word != ".entry") continue;
        const std::string name = words.next();
        entries[name] = read_entry(words);
    }
    return true;
}

} // namespace cuda_on_cpu
